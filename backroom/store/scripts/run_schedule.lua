#!lua
-- Makes a job of a schedule now, outside its slots.
--@include context events metrics deliveries lanes queues removal finish moves storing schedules firing
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] id of the job
--     [4] name of an idempotency key, or '': what was done under it is not done again
-- Returns 1, or 0 if there is no such schedule
-- O(log n)
if redis.call('EXISTS', schedule_key(ARGV[2])) == 0 then return 0 end
local once = ARGV[4] ~= '' and P .. 'idempotency:' .. ARGV[4]
if once and redis.call('HEXISTS', once, 'submitted') == 1 then return 1 end
make_jobs(ARGV[2], {{id = ARGV[3]}})
if once and redis.call('EXISTS', once) == 1 then redis.call('HSET', once, 'submitted', '') end
return 1
