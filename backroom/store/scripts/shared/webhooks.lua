-- Endpoints of webhooks: a hash each; `webhooks` has them by creation, `webhooks:wanted` the events that those that are enabled want.
-- 'jobs' stands for the own webhooks of all jobs: it has secrets, and nothing else of an endpoint.
local OWN = 'jobs'

local function refresh_wanted()
  local wishes = {}
  for _, id in ipairs(redis.call('ZRANGE', P .. 'webhooks', 0, -1)) do
    local found = redis.call('HMGET', webhook_key(id), 'events', 'disabled')
    if found[1] and not found[2] then wishes[#wishes + 1] = found[1] end
  end
  if #wishes > 0 then
    redis.call('SET', P .. 'webhooks:wanted', ' ' .. table.concat(wishes, ' ') .. ' ')
  else
    redis.call('DEL', P .. 'webhooks:wanted')
  end
end

-- It is told nothing more until somebody enables it.
local function disable_webhook(id, reason)
  redis.call('HSET', webhook_key(id), 'disabled', reason, 'disabledAt', now)
  refresh_wanted()
end

-- Whether there is somebody to deliver to.
local function takes_deliveries(id)
  if id == OWN then return true end
  local found = redis.call('HMGET', webhook_key(id), 'url', 'disabled')
  return found[1] and not found[2]
end

-- After so long (ms) without a try, it is not known whether an endpoint has failed all the time.
local SILENCE = 172800000

-- A call of the endpoint has failed. Returns for how long (ms) all have.
local function note_failure(id)
  local found = redis.call('HMGET', webhook_key(id), 'failingSince', 'failedAt')
  local since = tonumber(found[1])
  if not since or now - tonumber(found[2]) > SILENCE then since = now end
  redis.call('HSET', webhook_key(id), 'failingSince', since, 'failedAt', now)
  return now - since
end

-- It works, or somebody says so: the time of its failures begins anew.
local function forgive_webhook(id) redis.call('HDEL', webhook_key(id), 'failingSince', 'failedAt') end
