#!lua flags=allow-oom
-- Takes an API key out of use for ever, unless nobody could manage the keys without it.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] id   [3] '1': there is an admin key without an end outside of the store
-- Returns 'ok', 'missing', or 'last' (the last admin key that does not end)
-- O(1)
local keys, id = P .. 'api-keys', ARGV[2]
local record = redis.call('HGET', keys, id)
if not record then return 'missing' end
local admins = keys .. ':admins'
if ARGV[3] ~= '1' and redis.call('SISMEMBER', admins, id) == 1 and redis.call('SCARD', admins) == 1 then return 'last' end
redis.call('HDEL', keys, id)
redis.call('HDEL', keys .. ':names', cjson.decode(record).name)
redis.call('HDEL', keys .. ':used', id)
redis.call('SREM', admins, id)
redis.call('SET', keys .. ':version', micros)
return 'ok'
