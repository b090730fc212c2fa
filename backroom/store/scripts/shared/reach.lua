-- When somebody last kept a lease or swept. If nobody could for more than half a lease, the store itself was away, and leases ended
-- that nobody could renew: then no lease ends for as long as one lasts, so that workers that live keep their jobs.
local function reached()
  local before = redis.call('SET', P .. 'alive', now, 'GET')
  if before and now - tonumber(before) > settings.lease / 2 then redis.call('SET', P .. 'grace', 1, 'PX', settings.lease) end
end

local function leases_end() return redis.call('EXISTS', P .. 'grace') == 0 end
