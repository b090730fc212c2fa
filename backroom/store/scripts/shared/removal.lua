-- Deliveries of webhooks (see `backroom.store.deliveries`): a hash and a list of tries each. Of each webhook, `deliveries` has all in
-- their order and `ended` those that have ended, by when they did; `webhooks:until` has until when these are kept.
local ENDED_TRIMMED_AT_ONCE = 3
local function delivery_key(id) return P .. 'delivery:' .. id end
local function webhook_key(webhook) return P .. 'webhook:' .. webhook end

local function forget_delivery(id, webhook)
  redis.call('ZREM', webhook_key(webhook) .. ':deliveries', id)
  redis.call('ZREM', webhook_key(webhook) .. ':ended', id)
  redis.call('ZREM', P .. 'webhooks:until', id)
  redis.call('UNLINK', delivery_key(id), delivery_key(id) .. ':tries')
end

-- It is `delivered`, or `failed` for good; of those that have ended, a webhook keeps so many.
local function end_delivery(id, webhook, state)
  local ended = webhook_key(webhook) .. ':ended'
  redis.call('HSET', delivery_key(id), 'state', state)
  redis.call('HDEL', delivery_key(id), 'next')
  redis.call('ZADD', ended, micros, id)
  redis.call('ZADD', P .. 'webhooks:until', now + settings.webhookKeepAge, id)
  local extra = redis.call('ZCARD', ended) - settings.webhookKeepCount
  if extra <= 0 then return end
  for _, old in ipairs(redis.call('ZRANGE', ended, 0, math.min(extra, ENDED_TRIMMED_AT_ONCE) - 1)) do forget_delivery(old, webhook) end
end

-- The job of a delivery is no more: if it has not said how it ended, it never will.
local function lose_delivery(id)
  local found = redis.call('HMGET', delivery_key(id), 'webhook', 'state')
  if found[2] == 'pending' then end_delivery(id, found[1], 'failed') end
end

-- Forgets a job that is in no state's set any more: its record, its logs and its places in the indexes.
local function forget(id)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'queue', 'name', 'user', 'tags')
  if job[1] == INTERNAL then lose_delivery(id) end
  if job[1] then redis.call('ZREM', P .. 'by:queue:' .. job[1], id) end
  if job[2] then redis.call('ZREM', P .. 'by:name:' .. job[2], id) end
  if job[3] then redis.call('ZREM', P .. 'by:user:' .. job[3], id) end
  for _, tag in ipairs(job[4] and cjson.decode(job[4]) or {}) do redis.call('ZREM', P .. 'by:tag:' .. tag, id) end
  redis.call('UNLINK', key, key .. ':tries', key .. ':logs')
end

-- Finished jobs that are not to be kept for ever are in two more sets of their queue: `old:completed` or `old:failed` (all
-- other ends) by the time they finished, of which only so many are kept, and `until` by the time (ms) they are kept until.
local function old_key(queue, state)
  return state_key(queue, state == 'completed' and 'old:completed' or 'old:failed')
end

-- Takes a finished job out of the sets it is in.
local function take_out_finished(id, queue, state)
  redis.call('ZREM', state_key(queue, state), id)
  redis.call('ZREM', old_key(queue, state), id)
  redis.call('ZREM', state_key(queue, 'until'), id)
end

-- Forgets at most `limit` finished jobs of the queue whose time is over. Returns how many.
local function forget_old(queue, limit)
  local gone = redis.call('ZRANGE', state_key(queue, 'until'), '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(gone) do
    take_out_finished(id, queue, redis.call('HGET', job_key(id), 'state') or 'completed')
    forget(id)
  end
  return #gone
end
