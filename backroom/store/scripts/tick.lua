#!lua flags=allow-oom
-- A scheduler says that it is there, and forgets those that have said nothing for a day.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] the scheduler
-- Returns 1
-- O(log n)
redis.call('ZADD', P .. 'schedulers', micros / 1000000, ARGV[2])
redis.call('ZREMRANGEBYSCORE', P .. 'schedulers', '-inf', micros / 1000000 - 86400)
return 1
