-- Bulk actions: a hash for each, the ids of the jobs it has still to act on in a list, and sorted sets of all actions and of
-- those that are at work.
local HELD = 2000 -- ms for which a process that has just worked on an action has it for itself

local function bulk_key(id) return P .. 'bulk:' .. id end
local function bulk_jobs_key(id) return P .. 'bulk:' .. id .. ':jobs' end

-- Takes an action that is at work for `who`. Returns why not: 'over', 'held' (by somebody else); nil: it is theirs.
local function hold(id, who)
  local found = redis.call('HMGET', bulk_key(id), 'state', 'holder', 'heldUntil')
  if found[1] ~= 'running' then return 'over' end
  if found[2] and found[2] ~= who and tonumber(found[3]) > now then return 'held' end
  redis.call('HSET', bulk_key(id), 'holder', who, 'heldUntil', now + HELD)
  return nil
end

-- The action is over; it can be read for a while. `...` are further field, value pairs to write.
local function end_bulk(id, state, ...)
  redis.call('HSET', bulk_key(id), 'state', state, 'finished', now, ...)
  redis.call('HDEL', bulk_key(id), 'holder', 'heldUntil', 'cursor')
  redis.call('ZREM', P .. 'bulk-running', id)
  redis.call('UNLINK', bulk_jobs_key(id))
  redis.call('PEXPIRE', bulk_key(id), settings.keepBulk)
end
