#!lua flags=allow-oom
-- Sets the limits of a queue, global over all workers; a field that is absent is taken away.
--@include context events metrics deliveries lanes queues
-- KEYS[1] key prefix   ARGV[1] settings   [2] queue   [3] MessagePack {concurrency?, rateMax?, rateDuration? ms, maxLength?}
-- Returns 1
-- O(log n)
local queue, limits = ARGV[2], cmsgpack.unpack(ARGV[3])
local key = queue_key(queue)
know_queue(queue)
for _, field in ipairs({'concurrency', 'rateMax', 'rateDuration', 'maxLength'}) do
  if limits[field] then redis.call('HSET', key, field, limits[field]) else redis.call('HDEL', key, field) end
end
if not limits.rateMax then redis.call('HDEL', key, 'windowBegin', 'windowEnd', 'windowCount', 'limitedUntil') end
redis.call('ZREM', P .. 'limited', queue)
note_change(queue)
settle_queues()
return 1
