-- What happens to an active job when its try has come to an outcome.

-- Takes an active job from its holder, which says how it ended. Returns its fields, or nil if `token` no longer holds it (nil token:
-- whoever does).
-- What belongs to the holding alone is deleted by `clear`, which each outcome calls with what else it leaves behind.
local function take_back(id, token, outcome)
  local job = redis.call('HMGET', job_key(id), 'queue', 'name', 'token', 'made', 'attempts', 'stalled', 'maxStalled', 'started',
    'worker', 'cancel', 'priority', 'lifo', 'keepC', 'keepF', 'score', 'deferred', 'expires', 'hook', 'lane')
  if not job[3] or (token and job[3] ~= token) then return nil end
  local held = {
    id = id, queue = job[1], name = job[2], made = tonumber(job[4]) or 0, attempts = tonumber(job[5]) or 1,
    stalled = tonumber(job[6]) or 0, max_stalled = tonumber(job[7]) or 1, started = tonumber(job[8]) or now, worker = job[9],
    cancel = job[10], priority = tonumber(job[11]) or 0, lifo = job[12], keep_completed = job[13] or nil, keep_failed = job[14] or nil,
    score = job[15], deferred = tonumber(job[16]) or 0, expires = job[17],
  }
  hooks[id] = job[18]
  leave(state_key(held.queue, 'active'), id)
  if meta(held.queue).concurrency then note_change(held.queue) end
  if job[19] then
    leave_lane(id, job[19], outcome ~= 'release' and now - held.started or nil, outcome ~= 'completed')
    note_change(held.queue)
  end
  return held
end

local function clear(held, ...)
  redis.call('HDEL', job_key(held.id), 'token', 'score', 'supplied', 'expects', 'forsaken', ...)
end

local function log_outcome(held, outcome, error_text, run)
  log_try(held.id, {attempt = held.made + 1, startedAt = held.started, finishedAt = now, worker = held.worker or nil,
    outcome = outcome, error = error_text, runMs = run})
end

-- The ends of a job that did not succeed; `...` are further field, value pairs to write.
local function end_failed(held, error_text, ...)
  finish(held.id, held.queue, held.name, 'failed', held.keep_failed, 'error', error_text, ...)
end

local function end_cancelled(held, ...)
  redis.call('HDEL', job_key(held.id), 'cancel')
  finish(held.id, held.queue, held.name, 'cancelled', held.keep_failed, ...)
end

-- A plain error record; errors that jobs raise come ready made from the worker.
local function own_error(kind, message, attempt)
  return cjson.encode({type = kind, message = message, attempt = attempt, at = now})
end

-- The process that ran the job died, or its lease ended.
local function lose(held, reason)
  held.stalled = held.stalled + 1
  redis.call('HSET', job_key(held.id), 'stalled', held.stalled)
  clear(held, 'expires')
  count('stalls', held.queue, held.name)
  event('stalled', held.id, held.queue, held.name, 'stalled', ('%d'):format(held.stalled))
  notify('stalled', held.id, held.queue)
  local failure = own_error('Stalled', reason, held.made + 1)
  log_outcome(held, 'stalled', failure)
  if held.cancel then
    end_cancelled(held)
  elseif held.stalled > held.max_stalled then
    end_failed(held, own_error('Stalled', 'job stalled more than ' .. held.max_stalled .. ' times: ' .. reason, held.made + 1))
    note_consequences(held.id)
  else
    to_place(held.id, held.queue, held.name, held.score, true)
    redis.call('HSET', job_key(held.id), 'why', 'stalled')
  end
end

-- Back to where it was claimed from: it was not started, and does not count in the rate window it was claimed in. Counters never
-- go down, so that the start they have counted stands for the one to come.
local function put_back(held)
  local known = meta(held.queue)
  if known.max and known.window_end > now and held.started >= known.window_begin and known.window_count > 0 then
    known.window_count = known.window_count - 1
    redis.call('HINCRBY', queue_key(held.queue), 'windowCount', -1)
  end
  clear(held, 'started')
  if held.cancel then return end_cancelled(held) end
  redis.call('ZADD', state_key(held.queue, 'waiting'), held.score, held.id)
  redis.call('HSET', job_key(held.id), 'state', 'waiting', 'counted', 1)
  note_change(held.queue)
  if held.expires then redis.call('ZADD', state_key(held.queue, 'ttl'), held.expires, held.id) end
  event('waiting', held.id, held.queue, held.name)
end

-- RetryAfter and RateLimited: again later, no attempt spent, but not for ever.
local function defer(held, outcome)
  local delay = outcome.delay or 0
  redis.call('HSET', job_key(held.id), 'deferred', held.deferred + 1)
  clear(held, 'expires', 'why')
  log_outcome(held, 'retry-after', outcome.error, outcome.run)
  if held.cancel then return end_cancelled(held) end
  if held.deferred + 1 > MAX_DEFERRALS then
    local reason = 'came back ' .. MAX_DEFERRALS .. ' times in a row without an outcome'
    end_failed(held, own_error('TooManyDeferrals', reason, held.made + 1))
    return note_consequences(held.id)
  end
  if outcome.outcome == 'rate-limited' then
    if delay > 0 then
      local known = meta(held.queue)
      known.limited_until = math.max(known.limited_until, soon + delay) -- the longest wish of several jobs holds
      redis.call('HSET', queue_key(held.queue), 'limitedUntil', known.limited_until)
    end
    to_place(held.id, held.queue, held.name, held.score)
  elseif delay > 0 then
    to_delayed(held.id, held.queue, held.name, soon + delay, 'retry-after')
  else
    to_waiting(held.id, held.queue, held.name, held.priority, held.lifo, now)
  end
end

-- The try failed and another one follows.
local function try_again(held, outcome, ...)
  redis.call('HSET', job_key(held.id), 'error', outcome.error, ...)
  count('retries', held.queue, held.name)
  if outcome.staged then give(held, cjson.decode(outcome.staged)) end
  if (outcome.delay or 0) > 0 then
    to_delayed(held.id, held.queue, held.name, soon + outcome.delay, 'backoff')
  else
    to_waiting(held.id, held.queue, held.name, held.priority, held.lifo, now)
  end
end

-- Celery's self.replace(...): the job goes on under its id as something else. With that in hand it does so at once; else others
-- will bring it (see supply) or have said already that it will never come (see forsake).
local function go_on(held, staged, delay, expects, forsaken)
  if held.cancel then return end_cancelled(held) end
  if staged then
    give(held, cjson.decode(staged))
    if delay > 0 then return to_delayed(held.id, held.queue, held.name, soon + delay, 'delayed') end
    to_waiting(held.id, held.queue, held.name, held.priority, held.lifo, now)
  elseif forsaken then
    end_failed(held, forsaken)
  elseif expects then
    redis.call('ZADD', state_key(held.queue, 'waiting-children'), micros, held.id)
    redis.call('HSET', job_key(held.id), 'state', 'waiting-children', 'expects', 1)
  else
    end_failed(held, own_error('Replaced', 'the job was replaced with nothing', held.made + 1))
  end
end

-- Applies one outcome {id, token, outcome, result?, error?, delay?, run?, tried?, logs?, progress?, children?, staged?}.
-- Returns 1, or 0 if refused.
local function settle(outcome)
  local id, kind = outcome.id, outcome.outcome
  local held = take_back(id, outcome.token, kind)
  if not held then return 0 end
  if outcome.logs then append_logs(id, outcome.logs) end
  if outcome.progress then redis.call('HSET', job_key(id), 'progress', outcome.progress) end
  if outcome.children then redis.call('HSET', job_key(id), 'children', outcome.children) end
  if kind == 'release' then put_back(held) return 1 end
  if kind == 'stalled' then lose(held, outcome.error) return 1 end
  if kind == 'retry-after' or kind == 'rate-limited' then defer(held, outcome) return 1 end
  local run, made = outcome.run or now - held.started, held.made + 1
  observe('run', RUN_BUCKETS, held.queue, held.name, run)
  rate(held.queue, 'ran')
  rate(held.queue, 'runMs', run)
  if kind == 'replaced' then
    local found = redis.call('HMGET', job_key(id), 'supplied', 'expects', 'forsaken')
    clear(held, 'error', 'why', 'deferred', 'expires', 'progress')
    go_on(held, outcome.staged or found[1], outcome.delay or 0, found[2], found[3])
    return 1
  end
  if kind == 'completed' then
    clear(held, 'error', 'why', 'deferred', 'cancel', 'expires')
    finish(id, held.queue, held.name, 'completed', held.keep_completed, 'made', made, 'run', run, 'result', outcome.result)
    return 1
  end
  log_outcome(held, outcome.tried or (kind == 'cancelled' and kind or 'failed'), outcome.error, run)
  clear(held, 'why', 'deferred', 'expires')
  if kind == 'cancelled' or held.cancel then
    end_cancelled(held, 'made', made, 'run', run, 'told', 1)
  elseif kind == 'failed' then
    if made >= held.attempts then
      event('retries-exhausted', id, held.queue, held.name, 'attemptsMade', ('%d'):format(made))
      notify('retries-exhausted', id, held.queue, 'state', 'failed', 'finished', now, 'error', outcome.error, 'made', made, 'run', run)
    end
    end_failed(held, outcome.error, 'made', made, 'run', run)
  else
    try_again(held, outcome, 'made', made, 'run', run)
  end
  return 1
end
