-- When somebody last kept a lease or swept. If nobody could for more than half a lease, the store itself was away (or its clock
-- was set forward), and leases ended that nobody could renew: then no lease ends for as long as one lasts, so that workers that
-- live keep their jobs.
local function reached()
  local before = redis.call('SET', P .. 'alive', now, 'GET')
  if before and now - tonumber(before) > settings.lease / 2 then
    redis.call('SET', P .. 'grace', now + settings.lease, 'PX', settings.lease)
  end
end

local function leases_end()
  local grace = tonumber(redis.call('GET', P .. 'grace') or 0)
  return grace <= now or grace > now + settings.lease -- one from a clock that was set back since holds up nothing
end
