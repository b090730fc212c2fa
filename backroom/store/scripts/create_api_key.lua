#!lua
-- Keeps a new API key. There is an admin key that does not end before there are others: nobody locks himself out.
--@include context
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] id   [3] MessagePack map: what is kept of the key, its name among it
--     [4] '1': an admin key without an end   [5] '1': there is such a key outside of the store   [6] how many keys there may be
-- Returns ms since 1970, or 'taken' (the name is in use), 'full', 'first' (it would be the first, and is no admin's)
-- O(1)
local keys, record = P .. 'api-keys', cmsgpack.unpack(ARGV[3])
if redis.call('HEXISTS', keys .. ':names', record.name) == 1 then return 'taken' end
if redis.call('HLEN', keys) >= tonumber(ARGV[6]) then return 'full' end
if ARGV[4] == '1' then
  redis.call('SADD', keys .. ':admins', ARGV[2])
elseif ARGV[5] ~= '1' and redis.call('SCARD', keys .. ':admins') == 0 then
  return 'first'
end
record.created = now
redis.call('HSET', keys, ARGV[2], cjson.encode(record))
redis.call('HSET', keys .. ':names', record.name, ARGV[2])
redis.call('SET', keys .. ':version', micros)
return now
