#!lua
-- Gives an endpoint of webhooks another secret; the one before goes on signing beside it for a while.
--@include context events deliveries lanes queues removal webhooks
-- KEYS[1] key prefix   ARGV[1] settings   [2] id   [3] the new secret   [4] for how long the old one signs too, ms
-- Returns until when it does, ms, or 0 if there is no such endpoint
-- O(1)
local key, till = webhook_key(ARGV[2]), now + tonumber(ARGV[4])
local before = redis.call('HGET', key, 'secret')
if not before then return 0 end
redis.call('HSET', key, 'secret', ARGV[3], 'oldSecret', before, 'oldUntil', till)
return till
