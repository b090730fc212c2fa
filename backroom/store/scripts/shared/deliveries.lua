-- Deliveries of webhooks (see `backroom.store.deliveries`): a hash and a list of tries each. Of each webhook, `deliveries` has all in
-- their order, `pending`, `delivered` and `failed` those that are so, in the same order, and `ended` those that have ended, by when
-- they did; `webhooks:until` has until when these are kept. `metrics:webhooks` counts what becomes of them.
local ENDED_TRIMMED_AT_ONCE = 3
local DELIVERY_BUCKETS = {50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 1800000, 7200000, 21600000, 86400000, 345600000}
local function delivery_key(id) return P .. 'delivery:' .. id end
local function webhook_key(webhook) return P .. 'webhook:' .. webhook end

local function tally(what, by) redis.call('HINCRBY', P .. 'metrics:webhooks', what, by or 1) end

-- Notes how long (ms) after its event a message has arrived.
local function tally_delay(ms)
  ms = math.max(0, ms)
  local bucket = #DELIVERY_BUCKETS + 1
  for place, bound in ipairs(DELIVERY_BUCKETS) do
    if ms <= bound then bucket = place break end
  end
  tally('delay|' .. bucket)
  tally('delay_sum', ms)
end

-- Puts a delivery among those of its webhook that are `state`, where it has its place.
local function put_delivery(id, webhook, state)
  local key = webhook_key(webhook)
  local place = redis.call('ZSCORE', key .. ':deliveries', id)
  for _, each in ipairs({'pending', 'delivered', 'failed'}) do
    if each ~= state then redis.call('ZREM', key .. ':' .. each, id) end
  end
  if place then redis.call('ZADD', key .. ':' .. state, place, id) end
  redis.call('HSET', delivery_key(id), 'state', state)
end

local function forget_delivery(id, webhook)
  for _, set in ipairs({'deliveries', 'pending', 'delivered', 'failed', 'ended'}) do
    redis.call('ZREM', webhook_key(webhook) .. ':' .. set, id)
  end
  redis.call('ZREM', P .. 'webhooks:until', id)
  redis.call('UNLINK', delivery_key(id), delivery_key(id) .. ':tries')
end

-- It is `delivered`, or `failed` for good; of those that have ended, a webhook keeps so many.
local function end_delivery(id, webhook, state)
  local ended, key = webhook_key(webhook) .. ':ended', delivery_key(id)
  put_delivery(id, webhook, state)
  redis.call('HDEL', key, 'next')
  redis.call('ZADD', ended, micros, id)
  redis.call('ZADD', P .. 'webhooks:until', now + settings.webhookKeepAge, id)
  tally('deliveries|' .. (state == 'delivered' and state or 'given-up'))
  if state == 'delivered' and redis.call('HSETNX', key, 'arrived', now) == 1 then -- else it was made again, who knows when
    tally_delay(now - tonumber(redis.call('HGET', key, 'at')))
  end
  local extra = redis.call('ZCARD', ended) - settings.webhookKeepCount
  if extra <= 0 then return end
  for _, old in ipairs(redis.call('ZRANGE', ended, 0, math.min(extra, ENDED_TRIMMED_AT_ONCE) - 1)) do forget_delivery(old, webhook) end
end

-- The job of a delivery is no more: if it has not said how it ended, it never will.
local function lose_delivery(id)
  local found = redis.call('HMGET', delivery_key(id), 'webhook', 'state')
  if found[2] == 'pending' then end_delivery(id, found[1], 'failed') end
end
