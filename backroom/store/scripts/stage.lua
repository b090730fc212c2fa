#!lua flags=allow-oom
-- Celery's self.retry(args=...) and self.replace(...) change what the next try is given: kept aside until this try is settled
-- as a retry, or as replaced.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] token   [4] JSON {name, data, celery, queue?}, all texts
-- Returns 1, or 0 if `token` does not hold the job
-- O(1)
local key = job_key(ARGV[2])
if redis.call('HGET', key, 'token') ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'staged', ARGV[4])
return 1
