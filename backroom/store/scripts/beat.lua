#!lua flags=allow-oom
-- A worker says that it is there, and forgets those that have said nothing for their time.
--@include context reach
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] what it says of itself, JSON   [4] how long that holds, seconds
--     [5] how many jobs it can run at once; 0: it claims none
-- Returns what the worker was asked to do (see ask), or ''
-- O(workers)
reached()
redis.call('ZADD', P .. 'workers', now + tonumber(ARGV[4]) * 1000, ARGV[2])
redis.call('SET', P .. 'worker:' .. ARGV[2], ARGV[3], 'EX', ARGV[4])
for _, gone in ipairs(redis.call('ZRANGE', P .. 'workers', '-inf', now, 'BYSCORE')) do redis.call('HDEL', P .. 'slots', gone) end
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', now)
redis.call('HSET', P .. 'slots', ARGV[2], ARGV[5])
local slots = 0
for _, each in ipairs(redis.call('HVALS', P .. 'slots')) do slots = slots + tonumber(each) end
redis.call('SET', P .. 'slots:all', slots)
return redis.call('GETDEL', P .. 'asked:' .. ARGV[2]) or ''
