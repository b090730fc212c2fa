#!lua
-- Keeps the answer to a request under its idempotency key; the first answer stays.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] name of the key, with its scope   [3] status   [4] headers   [5] body
-- Returns 1, or 0 if there is an answer already or the key is gone
-- O(1)
local key = P .. 'idempotency:' .. ARGV[2]
local known = redis.call('HMGET', key, 'fingerprint', 'status')
if not known[1] or known[2] then return 0 end
redis.call('HSET', key, 'status', ARGV[3], 'headers', ARGV[4], 'body', ARGV[5])
redis.call('HDEL', key, 'token', 'since', 'seed', 'submitted')
return 1
