#!lua flags=allow-oom
-- Keeps how a try to deliver a webhook ended. An endpoint is disabled when a try says so, and when nothing but failures came of it
-- for too long.
--@include context events deliveries lanes queues webhooks
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] delivery   [3] the try, JSON   [4] 'pending', 'delivered' or 'failed'   [5] when the next try is, ms, or ''
--     [6] the address that was called   [7] a reason to disable the endpoint for, or ''
--     [8] what the audit log has to say if it is disabled, MessagePack array of fields and values but for the last value, the target
-- Returns the reason for which it has disabled the endpoint, '' if it has not, or nil if there is no such delivery
-- O(log n + endpoints)
local id, key, state = ARGV[2], delivery_key(ARGV[2]), ARGV[4]
local webhook = redis.call('HGET', key, 'webhook')
if not webhook then return nil end
if redis.call('RPUSH', key .. ':tries', ARGV[3]) > KEPT_TRIES then redis.call('LTRIM', key .. ':tries', -KEPT_TRIES, -1) end
redis.call('HSET', key, 'url', ARGV[6], 'next', ARGV[5])
redis.call('HINCRBY', key, 'made', 1)
if state ~= 'pending' then end_delivery(id, webhook, state) end

local there = webhook ~= OWN and redis.call('EXISTS', webhook_key(webhook)) == 1
if there and redis.call('HEXISTS', webhook_key(webhook), 'disabled') == 1 then return '' end -- it was not called
tally('attempts|' .. (state == 'delivered' and state or 'failed'))
if not there then return '' end
if state == 'delivered' then
  forgive_webhook(webhook)
  return ''
end
local failing = note_failure(webhook)
local reason = ARGV[7]
if reason == '' and settings.webhookDisableAfter > 0 and failing >= settings.webhookDisableAfter then reason = 'failing' end
if reason ~= '' then
  disable_webhook(webhook, reason)
  local words = cmsgpack.unpack(ARGV[8])
  words[#words + 1] = '/v1/webhooks/' .. webhook
  redis.call('XADD', P .. 'audit:acts', '*', unpack(words))
end
return reason
