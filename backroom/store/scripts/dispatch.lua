#!lua flags=allow-oom
-- Makes deliveries of notices, each a job of the internal queue, and takes the notices out of the outbox, all at once: a notice that
-- somebody else was faster with is left out.
--@include context events metrics deliveries lanes queues removal finish moves storing webhooks
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] notices, MessagePack array, at most 100, of {id in the outbox, [{webhook, fields and values of the delivery,
--     job as submit takes it}...]}   [3] how many deliveries of a webhook may be pending
-- Returns {deliveries made, deliveries dropped because too many are pending}
-- O(deliveries * log n)
local most, made, dropped = tonumber(ARGV[3]), 0, 0
local mine = {}
for _, notice in ipairs(cmsgpack.unpack(ARGV[2])) do
  if redis.call('XDEL', P .. 'webhooks:outbox', notice[1]) == 1 then
    for _, delivery in ipairs(notice[2]) do
      local webhook, job = delivery[1], delivery[3]
      local key = webhook_key(webhook)
      if takes_deliveries(webhook) and redis.call('EXISTS', job_key(job.id), delivery_key(job.id)) == 0 then
        if redis.call('ZCARD', key .. ':pending') < most then
          local last = redis.call('ZRANGE', key .. ':deliveries', 0, 0, 'REV', 'WITHSCORES')[2]
          redis.call('ZADD', key .. ':deliveries', math.max(micros, (tonumber(last) or 0) + 1), job.id)
          redis.call('HSET', delivery_key(job.id), 'webhook', webhook, unpack(delivery[2]))
          put_delivery(job.id, webhook, 'pending')
          note_coming(job.queue)
          mine[#mine + 1] = job
        else
          redis.call('HINCRBY', key, 'dropped', 1)
          tally('deliveries|dropped')
          dropped = dropped + 1
        end
      end
    end
  end
end
for place, job in ipairs(mine) do
  know_queue(job.queue)
  store(job, place - 1)
  made = made + 1
end
settle_queues()
if made > 0 then line_up() end
write_metrics()
return {made, dropped}
