#!lua flags=allow-oom
-- Removes a schedule; jobs that it has made stay.
--@include context schedules
-- KEYS[1] key prefix   ARGV[1] settings   [2] schedule key
-- Returns 1, or 0 if there is no such schedule
-- O(log n)
redis.call('ZREM', P .. 'schedules', ARGV[2])
redis.call('ZREM', P .. 'schedules:all', ARGV[2])
return redis.call('UNLINK', schedule_key(ARGV[2]), fires_key(ARGV[2]), working_key(ARGV[2])) > 0 and 1 or 0
