#!lua
-- Pauses or resumes a schedule.
--@include context schedules
-- KEYS[1] key prefix   ARGV[1] settings   [2] schedule key   [3] '1' pause, '0' resume   [4] next slot, ms, or ''
-- Returns 1, or 0 if there is no such schedule
-- O(log n)
local key = schedule_key(ARGV[2])
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'paused', ARGV[3], 'next', ARGV[4])
redis.call('HINCRBY', key, 'revision', 1)
set_next(ARGV[2], ARGV[3] == '1' and '' or ARGV[4])
return 1
