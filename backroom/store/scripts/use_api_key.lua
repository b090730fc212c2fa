#!lua flags=allow-oom
-- Notes that an API key is in use.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] id
-- Returns nothing
-- O(1)
local keys = P .. 'api-keys'
if redis.call('HEXISTS', keys, ARGV[2]) == 1 then redis.call('HSET', keys .. ':used', ARGV[2], now) end
