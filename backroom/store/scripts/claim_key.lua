#!lua
-- Claims an idempotency key for one request, or tells what became of the request that claimed it before.
--@include context
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] name of the key, with its scope   [3] fingerprint of the request   [4] token of this claim
--     [5] seed of ids   [6] ms after which a request that has not been answered is taken for dead   [7] seconds to keep the key
-- Returns {'mine', seed: of the first claim}, {'other'} (another request used the key), {'running', ms until it is taken for
--     dead} or {'done', status, headers, body}
-- O(1)
local key = P .. 'idempotency:' .. ARGV[2]
local known = redis.call('HMGET', key, 'fingerprint', 'status', 'headers', 'body', 'since', 'seed')
local seed = known[6] or ARGV[5]
if known[1] then
  if known[1] ~= ARGV[3] then return {'other'} end
  if known[2] then return {'done', known[2], known[3], known[4]} end
  local left = tonumber(known[5]) + tonumber(ARGV[6]) - now
  if left > 0 then return {'running', left} end
end
redis.call('HSET', key, 'fingerprint', ARGV[3], 'token', ARGV[4], 'since', now, 'seed', seed)
redis.call('EXPIRE', key, ARGV[7], 'NX')
return {'mine', seed}
