#!lua flags=allow-oom
-- Begins a bulk action, once: the same id again changes nothing.
--@include context bulk
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] id   [3] MessagePack {field = value...} of the action   [4] MessagePack array of job ids, at most 1000; or
--     '': gather_bulk brings them
-- Returns nothing
-- O(ids + log n)
local CLEARED_AT_ONCE = 20
local id, key = ARGV[2], bulk_key(ARGV[2])
if redis.call('EXISTS', key) == 1 then return end
for _, old in ipairs(redis.call('ZRANGE', P .. 'bulk-actions', 0, CLEARED_AT_ONCE - 1)) do
  if redis.call('EXISTS', bulk_key(old)) == 0 then redis.call('ZREM', P .. 'bulk-actions', old) end
end
for field, value in pairs(cmsgpack.unpack(ARGV[3])) do redis.call('HSET', key, field, value) end
redis.call('HSET', key, 'state', 'running', 'begun', string.format('%.0f', micros))
if ARGV[4] ~= '' then
  local ids = cmsgpack.unpack(ARGV[4])
  redis.call('RPUSH', bulk_jobs_key(id), unpack(ids))
  redis.call('HSET', key, 'total', #ids, 'gathered', 1)
end
redis.call('ZADD', P .. 'bulk-actions', micros, id)
redis.call('ZADD', P .. 'bulk-running', micros, id)
