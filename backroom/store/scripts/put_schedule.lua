#!lua
-- Creates or replaces a schedule; what it has fired so far stays.
--@include context schedules
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] its definition, JSON   [4] '1' if it is paused   [5] '0' if it must not overlap
--     [6] next slot, ms, or '' (finished)   [7] anchor of the grid of `every`, ms
-- Returns 1 if it is new, else 0
-- O(log n)
local key = schedule_key(ARGV[2])
local new = redis.call('EXISTS', key) == 0 and 1 or 0
if new == 1 then
  redis.call('HSET', key, 'created', now, 'count', 0)
  redis.call('ZADD', P .. 'schedules:all', micros, ARGV[2])
end
redis.call('HSET', key, 'definition', ARGV[3], 'paused', ARGV[4], 'overlap', ARGV[5], 'next', ARGV[6], 'anchor', ARGV[7])
redis.call('HINCRBY', key, 'revision', 1)
set_next(ARGV[2], ARGV[4] == '1' and '' or ARGV[6])
return new
