#!lua flags=allow-oom
-- Looks at a schedule that could not be fired again later; its slot stays due.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] schedule key   [3] how much later, ms
-- Returns 1
-- O(log n)
redis.call('ZADD', P .. 'schedules', 'XX', now + ARGV[3], ARGV[2])
return 1
