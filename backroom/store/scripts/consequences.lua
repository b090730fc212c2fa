#!lua flags=allow-oom
-- Hands out jobs whose end some worker has to tell to the tasks that depend on them; one that is not taken off the list
-- (ZREM) before `lease` is over is handed out again.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] how many at most   [3] lease, ms
-- Returns the ids
-- O(limit * log n)
local key = P .. 'consequences'
local ids = redis.call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do redis.call('ZADD', key, now + tonumber(ARGV[3]), id) end
return ids
