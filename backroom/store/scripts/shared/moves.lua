-- How a job enters a state. Leaving the old one is the caller's business.

-- The first of `n` scores in a row for jobs that are to wait behind their equals (or before them: lifo, counting down).
local function next_score(queue, priority, lifo, n)
  local key = queue_key(queue)
  if lifo then return priority * PRIORITY_STEP + MIDDLE - redis.call('HINCRBY', key, 'lifo', 1) end
  local sequence = redis.call('HINCRBY', key, 'sequence', n)
  if sequence >= 1073741824 and redis.call('EXISTS', state_key(queue, 'waiting')) == 0 then
    redis.call('HSET', key, 'sequence', n, 'lifo', 0)
    sequence = n
  end
  return priority * PRIORITY_STEP + MIDDLE + sequence - n + 1
end

-- Waiting, in the order of its priority. `ready` is when it became ready, in ms.
local function to_waiting(id, queue, name, priority, lifo, ready)
  redis.call('ZADD', state_key(queue, 'waiting'), next_score(queue, priority, lifo, 1), id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'ready', ready)
  event('waiting', id, queue, name)
  note_change(queue)
end

-- Waiting, before everything else: for work that was begun and lost.
local function to_front(id, queue, name)
  local waiting = state_key(queue, 'waiting')
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  redis.call('ZADD', waiting, math.min(tonumber(first[2]) or 0, 0) - 1, id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'ready', now)
  event('waiting', id, queue, name)
  note_change(queue)
end

-- Delayed until `due` (ms), after those that are due in the same ms.
local function to_delayed(id, queue, name, due, why)
  local delayed, score = state_key(queue, 'delayed'), due * DELAY_STEPS
  local last = redis.call('ZRANGE', delayed, score + DELAY_STEPS - 1, score, 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')
  if last[2] then score = math.min(tonumber(last[2]) + 1, score + DELAY_STEPS - 1) end
  redis.call('ZADD', delayed, score, id)
  redis.call('HSET', job_key(id), 'state', 'delayed', 'runAt', due, 'why', why)
  event('delayed', id, queue, name, 'runAt', due)
  note_due(queue)
end

-- A job that has become ready: the clock of its ttl starts with its first readiness.
local function start_ttl(id, queue, ttl, ready)
  if not ttl then return end
  redis.call('ZADD', state_key(queue, 'ttl'), ready + ttl, id)
  redis.call('HSET', job_key(id), 'expires', ready + ttl)
end

-- Moves what is due from delayed to waiting, at most `limit` jobs. Returns how many, and whether more are due.
local function promote_due(limit)
  local moved = 0
  while moved < limit do
    local first = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
    if not first[2] or tonumber(first[2]) > now then break end
    local queue = first[1]
    local delayed = state_key(queue, 'delayed')
    local ids = redis.call('ZRANGE', delayed, '-inf', (now + 1) * DELAY_STEPS - 1, 'BYSCORE', 'LIMIT', 0, limit - moved, 'WITHSCORES')
    for at = 1, #ids, 2 do
      local id, due = ids[at], math.floor(tonumber(ids[at + 1]) / DELAY_STEPS)
      redis.call('ZREM', delayed, id)
      local job = redis.call('HMGET', job_key(id), 'name', 'priority', 'lifo', 'ttl')
      to_waiting(id, queue, job[1], tonumber(job[2]) or 0, job[3], due)
      redis.call('HDEL', job_key(id), 'runAt', 'why')
      if job[4] then
        start_ttl(id, queue, tonumber(job[4]), due)
        redis.call('HDEL', job_key(id), 'ttl')
      end
      moved = moved + 1
    end
    refresh_due(queue)
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
