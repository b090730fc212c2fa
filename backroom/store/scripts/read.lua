#!lua flags=no-writes,allow-oom
-- Reads a job with its attempt log, as they are at one moment (a MULTI would be refused at the memory limit).
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id
-- Returns {[field, value...], [entry of the attempt log, JSON...]}; both are empty if there is no such job
-- O(fields + tries)
return {redis.call('HGETALL', job_key(ARGV[2])), redis.call('LRANGE', job_key(ARGV[2]) .. ':tries', 0, -1)}
