#!lua flags=allow-oom
-- Asks a worker to do something: it is told at once, and with its next sign of life if it did not hear.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] 'quiet' or 'stop'   [4] how long the wish holds, seconds
-- Returns 1, or 0 if there is no such worker
-- O(log n)
local until_when = tonumber(redis.call('ZSCORE', P .. 'workers', ARGV[2]))
if not until_when or until_when <= now then return 0 end
redis.call('SET', P .. 'asked:' .. ARGV[2], ARGV[3], 'EX', ARGV[4])
redis.call('PUBLISH', P .. 'control', cjson.encode({ask = ARGV[3], worker = ARGV[2]}))
return 1
