-- How a job enters a state. Leaving the old one is the caller's business.

-- Waiting scores are priority * PRIORITY_STEP + a place. The first of `n` places in a row behind all others of the queue:
local function next_places(queue, n)
  local key = queue_key(queue)
  local sequence = redis.call('HINCRBY', key, 'sequence', n)
  if sequence >= 1073741824 and redis.call('EXISTS', state_key(queue, 'waiting')) == 0 then
    redis.call('HSET', key, 'sequence', n, 'lifo', 0)
    sequence = n
  end
  return MIDDLE + sequence - n + 1
end

-- The place before all others of the queue.
local function next_lifo_place(queue) return MIDDLE - redis.call('HINCRBY', queue_key(queue), 'lifo', 1) end

-- Waiting, behind its equals of the same priority, or before them: lifo. `ready` is when it became ready, in ms.
local function to_waiting(id, queue, name, priority, lifo, ready)
  local place = lifo and next_lifo_place(queue) or next_places(queue, 1)
  redis.call('ZADD', state_key(queue, 'waiting'), priority * PRIORITY_STEP + place, id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'ready', ready)
  event('waiting', id, queue, name)
  note_change(queue)
end

-- Waiting, where its `score` says: at the place it was claimed from, or (`first`) before everything that was never lost.
local function to_place(id, queue, name, score, first)
  score = tonumber(score)
  if first and score >= 0 then score = score - FRONT end
  redis.call('ZADD', state_key(queue, 'waiting'), score, id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'ready', now)
  event('waiting', id, queue, name)
  note_change(queue)
end

local LOOKED_THROUGH = 64 -- ms
local newest_due = {} -- queue and due time -> the score this script gave last

-- A place behind all jobs of the queue that are due in the same ms. Each ms has DELAY_STEPS places; when they are taken, the
-- next ms lends its own (late by a ms for some thousand jobs, and in order), but no more than LOOKED_THROUGH of them.
local function delayed_score(queue, due)
  local key = queue .. ' ' .. due
  local score = newest_due[key]
  if score then
    score = score + 1
  else
    score = due * DELAY_STEPS
    for ms = due, due + LOOKED_THROUGH do
      local first, last = ms * DELAY_STEPS, (ms + 1) * DELAY_STEPS - 1
      local taken = redis.call('ZRANGE', state_key(queue, 'delayed'), last, first, 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')[2]
      if not taken then break end
      score = tonumber(taken) + 1
      if score <= last then break end
    end
  end
  newest_due[key] = score
  return score
end

-- Delayed until `due` (ms), after those that are due in the same ms.
local function to_delayed(id, queue, name, due, why)
  redis.call('ZADD', state_key(queue, 'delayed'), delayed_score(queue, due), id)
  redis.call('HSET', job_key(id), 'state', 'delayed', 'runAt', due, 'why', why)
  event('delayed', id, queue, name, 'runAt', ('%d'):format(due))
  note_due(queue)
end

-- A job that has become ready: the clock of its ttl starts with its first readiness.
local function start_ttl(id, queue, ttl, ready)
  local ends = ttl > 0 and ready + ttl or math.min(ready, now) -- with none at all it is over, in this very ms
  redis.call('ZADD', state_key(queue, 'ttl'), ends, id)
  redis.call('HSET', job_key(id), 'expires', ends)
end

-- Moves the queue's due jobs from delayed to waiting, in their order, at most `limit`. Returns how many.
local function promote_from(queue, limit)
  local delayed = state_key(queue, 'delayed')
  local ids = redis.call('ZRANGE', delayed, '-inf', (now + 1) * DELAY_STEPS - 1, 'BYSCORE', 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  redis.call('ZREM', delayed, unpack(ids))
  local place, additions = next_places(queue, #ids), {}
  for at, id in ipairs(ids) do
    local job = redis.call('HMGET', job_key(id), 'name', 'priority', 'lifo', 'ttl', 'runAt')
    if job[1] then -- else its record was deleted by hand, which must not hold up the others
      local priority, due = tonumber(job[2]) or 0, tonumber(job[5]) or now
      additions[#additions + 1] = priority * PRIORITY_STEP + (job[3] and next_lifo_place(queue) or place + at - 1)
      additions[#additions + 1] = id
      redis.call('HSET', job_key(id), 'state', 'waiting', 'ready', due)
      redis.call('HDEL', job_key(id), 'runAt', 'why', 'ttl')
      if job[4] then start_ttl(id, queue, tonumber(job[4]), due) end
      event('waiting', id, queue, job[1])
    end
  end
  if #additions > 0 then redis.call('ZADD', state_key(queue, 'waiting'), unpack(additions)) end
  if queue == INTERNAL then line_up() end
  note_change(queue)
  return #ids
end

-- Moves what is due from delayed to waiting, at most `limit` jobs, and opens rate windows that have ended. Returns how many
-- jobs.
local function promote_due(limit)
  local moved = 0
  while moved < limit do
    local first = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
    if not first[2] or tonumber(first[2]) > now then break end
    moved = moved + promote_from(first[1], limit - moved)
    refresh_due(first[1])
  end
  local windows = redis.call('ZRANGE', P .. 'limited', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
  for _, queue in ipairs(windows) do
    redis.call('ZREM', P .. 'limited', queue)
    note_change(queue)
  end
  return moved
end

-- When something of the timetable is next due (ms), or nil: a delayed job, or the end of a rate window.
local function next_due()
  local delayed = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
  local window = redis.call('ZRANGE', P .. 'limited', 0, 0, 'WITHSCORES')
  local first, second = tonumber(delayed[2]), tonumber(window[2])
  if first and second then return math.min(first, second) end
  return first or second
end
