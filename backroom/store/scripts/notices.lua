#!lua flags=allow-oom
-- Reads what webhooks are to tell, the oldest first; and forgets deliveries that were kept long enough.
--@include context events deliveries lanes queues removal
-- KEYS[1] key prefix   ARGV[1] settings   [2] notices to read at most, 1..100   [3] deliveries to forget at most, 1..1000
-- Returns the notices as XRANGE does
-- O(notices + deliveries * log n)
for _, id in ipairs(redis.call('ZRANGE', P .. 'webhooks:until', '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))) do
  local webhook = redis.call('HGET', delivery_key(id), 'webhook')
  if webhook then forget_delivery(id, webhook) else redis.call('ZREM', P .. 'webhooks:until', id) end
end
return redis.call('XRANGE', P .. 'webhooks:outbox', '-', '+', 'COUNT', tonumber(ARGV[2]))
