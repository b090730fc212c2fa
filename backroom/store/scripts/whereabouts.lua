#!lua flags=no-writes,allow-oom
-- Reads some fields of a job, and the id of the newest event, as they are at one moment (a MULTI would be refused at the memory
-- limit).
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3...] fields
-- Returns {id of the newest event or '', [value of each field, or nothing]}
-- O(fields)
local newest = redis.call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1)
return {newest[1] and newest[1][1] or '', redis.call('HMGET', job_key(ARGV[2]), unpack(ARGV, 3))}
