#!lua flags=allow-oom
-- Frees an idempotency key whose request was refused, so that it may be sent again at once.
--@include context
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] name of the key, with its scope   [3] token of the claim
--     [4] '1' to forget the request, '0' to keep what it was and its ids: it may be carried out yet
-- Returns 1, or 0 if somebody else has the key by now
-- O(1)
local key = P .. 'idempotency:' .. ARGV[2]
local known = redis.call('HMGET', key, 'token', 'submitted')
if known[1] ~= ARGV[3] then return 0 end
if ARGV[4] == '1' and not known[2] then
  redis.call('UNLINK', key)
else
  redis.call('HSET', key, 'since', 0)
end
return 1
