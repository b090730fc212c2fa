#!lua flags=allow-oom
-- Keeps how a try to deliver a webhook ended.
--@include context events queues removal webhooks
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] delivery   [3] the try, JSON   [4] 'pending', 'delivered' or 'failed'   [5] when the next try is, ms, or ''
--     [6] the address that was called   [7] a reason to disable the endpoint for, or ''
-- Returns 1, or 0 if there is no such delivery
-- O(log n + endpoints)
local id, key = ARGV[2], delivery_key(ARGV[2])
local webhook = redis.call('HGET', key, 'webhook')
if not webhook then return 0 end
if redis.call('RPUSH', key .. ':tries', ARGV[3]) > KEPT_TRIES then redis.call('LTRIM', key .. ':tries', -KEPT_TRIES, -1) end
redis.call('HSET', key, 'url', ARGV[6], 'next', ARGV[5])
redis.call('HINCRBY', key, 'made', 1)
if ARGV[4] ~= 'pending' then end_delivery(id, webhook, ARGV[4]) end
if ARGV[7] ~= '' and webhook ~= OWN and redis.call('EXISTS', webhook_key(webhook)) == 1 then disable_webhook(webhook, ARGV[7]) end
return 1
