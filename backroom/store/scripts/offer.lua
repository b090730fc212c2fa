#!lua flags=allow-oom
-- A worker says which job types it does; types that no worker has offered for their time are forgotten.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] how long the offer holds, seconds   [4] MessagePack {name = JSON}
-- Returns how many types were forgotten
-- O(types * log n)
local worker, seconds, types = ARGV[2], tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4])
local names = {}
for name, text in pairs(types) do
  names[#names + 1] = name
  redis.call('HSET', P .. 'types', name, text)
  redis.call('ZADD', P .. 'types:seen', now + seconds * 1000, name)
end
redis.call('SET', P .. 'types:of:' .. worker, cmsgpack.pack(names), 'EX', seconds)
local over = redis.call('ZRANGE', P .. 'types:seen', '-inf', now, 'BYSCORE')
for _, name in ipairs(over) do
  redis.call('ZREM', P .. 'types:seen', name)
  redis.call('HDEL', P .. 'types', name)
end
return #over
