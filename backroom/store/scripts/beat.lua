#!lua flags=allow-oom
-- A worker says that it is there, and forgets those that have said nothing for their time.
--@include context reach
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] what it says of itself, JSON   [4] how long that holds, seconds
-- Returns what the worker was asked to do (see ask), or ''
-- O(log n)
reached()
redis.call('ZADD', P .. 'workers', now + tonumber(ARGV[4]) * 1000, ARGV[2])
redis.call('SET', P .. 'worker:' .. ARGV[2], ARGV[3], 'EX', ARGV[4])
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', now)
return redis.call('GETDEL', P .. 'asked:' .. ARGV[2]) or ''
