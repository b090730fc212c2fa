#!lua flags=allow-oom
-- Puts a schedule that could not be fired into the timetable as its record says: someone else was first, or its record was
-- changed by hand.
--@include context schedules
-- KEYS[1] key prefix   ARGV[1] settings   [2] schedule key
-- Returns 1
-- O(log n)
local found = redis.call('HMGET', schedule_key(ARGV[2]), 'paused', 'next')
if not found[1] then redis.call('ZREM', P .. 'schedules:all', ARGV[2]) end
set_next(ARGV[2], found[1] == '0' and found[2] or '')
return 1
