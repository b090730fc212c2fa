#!lua
-- Creates or replaces a schedule; what it has fired so far stays.
--@include context schedules
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] the revision that the caller read, or ''   [4] '1' if it is paused
--     [5] next slot, ms, or '' (finished)   [6] its other fields and their values, MessagePack array
-- Returns 1 if it is new, else 0; or -1: it has changed meanwhile, and nothing was done
-- O(log n)
local name, paused, slot = ARGV[2], ARGV[4], ARGV[5]
if not is_still(name, ARGV[3]) then return -1 end
local new = ARGV[3] == '' and 1 or 0
if new == 1 then
  redis.call('HSET', schedule_key(name), 'created', now, 'count', 0)
  redis.call('ZADD', P .. 'schedules:all', micros, name)
end
revise(name, 'paused', paused, 'next', slot, unpack(cmsgpack.unpack(ARGV[6])))
set_next(name, paused == '1' and '' or slot)
return new
