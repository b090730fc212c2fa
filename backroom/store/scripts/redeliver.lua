#!lua
-- Delivers again, with all its tries; what is pending is tried at once.
--@include context events metrics deliveries lanes queues removal finish moves storing actions webhooks
-- KEYS[1] key prefix   ARGV[1] settings   [2] delivery   [3] its job as submit takes it, MessagePack
-- Returns {'ok'}, {'missing'}, {'disabled'} if nobody takes it, or {'busy'} while it is about to end
-- O(log n)
local id = ARGV[2]
local found = redis.call('HMGET', delivery_key(id), 'webhook', 'state')
local webhook, pending = found[1], load(id)
if not webhook then return {'missing'} end
if not takes_deliveries(webhook) then return {'disabled'} end
if pending and found[2] ~= 'pending' then return {'busy'} end
put_delivery(id, webhook, 'pending')
clear_lane(redis.call('HGET', delivery_key(id), 'lane') or webhook)
redis.call('HDEL', delivery_key(id), 'next')
redis.call('ZREM', webhook_key(webhook) .. ':ended', id)
redis.call('ZREM', P .. 'webhooks:until', id)
if not pending then
  local job = cmsgpack.unpack(ARGV[3])
  know_queue(job.queue)
  note_coming(job.queue)
  store(job, 0)
elseif pending.state == 'delayed' then
  take_out(pending)
  to_waiting(id, pending.queue, pending.name, pending.priority, pending.lifo, now)
  redis.call('HDEL', job_key(id), 'runAt', 'why')
end
settle_queues()
write_metrics()
return {'ok'}
