-- How a job ends, and what stays of it.
local finished_now = 0
local TRIMMED_AT_ONCE = 3 -- finished jobs above the count that are forgotten when one more finishes

-- Adds a try to the attempt log.
local function log_try(id, entry)
  local key = job_key(id) .. ':tries'
  if redis.call('RPUSH', key, cjson.encode(entry)) > KEPT_TRIES then redis.call('LTRIM', key, -KEPT_TRIES, -1) end
end

-- For how long (ms) and among how many a finished job is kept; nil, nil: for ever. `keep` is the job's own wish: nil (the
-- default), '0' (not at all), '1' (for ever), or 'age in seconds:count' with either part empty.
local function retention(keep, completed)
  local age = completed and settings.keepCompletedAge or settings.keepFailedAge
  local most = completed and settings.keepCompletedCount or settings.keepFailedCount
  if not keep then return age, most end
  if keep == '1' then return nil, nil end
  if keep == '0' then return 0, 0 end
  local own_age, own_count = keep:match('^(%d*):(%d*)$')
  if own_age ~= '' then age = tonumber(own_age) * 1000 end
  if own_count ~= '' then most = tonumber(own_count) end
  return age, most
end

local kept = {} -- sorted set -> how many it holds, counted once a script

-- Forgets the jobs of `old` above `most` that finished first, a few at once.
local function trim(queue, old, most)
  local extra = kept[old] - most
  if extra <= 0 then return end
  write_sets()
  local oldest = redis.call('ZPOPMIN', old, math.min(extra, TRIMMED_AT_ONCE))
  for at = 1, #oldest, 2 do
    local gone = oldest[at]
    redis.call('ZREM', state_key(queue, 'until'), gone)
    local its_state = redis.call('HGET', job_key(gone), 'state')
    if its_state then redis.call('ZREM', state_key(queue, its_state), gone) end
    forget(gone)
    kept[old] = kept[old] - 1
  end
end

-- A task of Celery's that has ended without its own code's doing: some worker tells the tasks that depend on it (see
-- consequences).
local function note_consequences(id)
  if redis.call('HEXISTS', job_key(id), 'celery') == 0 then return end
  redis.call('ZADD', P .. 'consequences', now, id)
  redis.call('PUBLISH', P .. 'control', '{"consequences":true}')
end

-- The job is in no state's set any more; puts it into `state` (completed, failed, cancelled, expired). `...` are further
-- field, value pairs to write.
local function finish(id, queue, name, state, keep, ...)
  count('finished', queue, name, state)
  if state == 'completed' or state == 'failed' then rate(queue, state) end
  event(state, id, queue, name)
  notify(state, id, queue, 'state', state, 'finished', now, ...)
  local age, most = retention(keep, state == 'completed')
  if most == 0 or age == 0 then
    forget(id)
    return
  end
  redis.call('HSET', job_key(id), 'state', state, 'finished', now, ...)
  local order = micros + finished_now
  finished_now = finished_now + 1
  enter(state_key(queue, state), order, id)
  if state == 'cancelled' or state == 'expired' then note_consequences(id) end
  if not age then return end
  local old = old_key(queue, state)
  kept[old] = (kept[old] or redis.call('ZCARD', old)) + 1
  enter(old, order, id)
  enter(state_key(queue, 'until'), now + age, id)
  trim(queue, old, most)
end
