-- Acts on one job, `load`ed before. Each returns nil, and has done nothing, when the job's state forbids it.

-- Cancels it at once ('ok') or, if it runs and may be stopped (`running`), asks its worker to ('asked').
local function cancel(job, running)
  if FINISHED[job.state] or (job.state == 'active' and not running) then return nil end
  if job.state == 'active' then
    redis.call('HSET', job_key(job.id), 'cancel', now)
    redis.call('PUBLISH', P .. 'control', cjson.encode({cancel = job.id, worker = job.worker}))
    return 'asked'
  end
  take_out(job)
  redis.call('HDEL', job_key(job.id), 'runAt', 'why', 'expires', 'ttl', 'expects')
  finish(job.id, job.queue, job.name, 'cancelled', job.keep_failed)
  return 'ok'
end

-- Runs a finished job again, with its options and priority; with all its tries (`reset`), or with one more.
local function retry(job, reset)
  if not FINISHED[job.state] then return nil end
  local key = job_key(job.id)
  take_out(job)
  local was = redis.call('HMGET', key, 'made', 'started', 'finished', 'worker', 'attempts', 'run', 'options')
  if job.state == 'completed' then -- a good last try is not in the log: it can be read off the job while it is completed
    log_try(job.id, {attempt = tonumber(was[1]), startedAt = tonumber(was[2]), finishedAt = tonumber(was[3]), worker = was[4] or nil,
      outcome = 'completed', runMs = tonumber(was[6])})
  end
  local options, made = cjson.decode(was[7] or '{}'), tonumber(was[1]) or 0
  if reset then
    redis.call('HDEL', key, 'made', 'attempts')
    if options.attempts then redis.call('HSET', key, 'attempts', options.attempts) end
  elseif made >= (tonumber(was[5]) or 1) then
    redis.call('HSET', key, 'attempts', made + 1)
  end
  redis.call('HDEL', key, 'finished', 'result', 'run', 'started', 'worker', 'progress', 'why', 'stalled', 'deferred', 'expires', 'told',
    'counted')
  to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
  if options.ttl then start_ttl(job.id, job.queue, options.ttl, soon) end
  return 'ok'
end

-- Gives a delayed job another due time (ms); at or before now it becomes waiting at once.
local function reschedule(job, due)
  if job.state ~= 'delayed' then return nil end
  take_out(job)
  redis.call('HSET', job_key(job.id), 'moved', now) -- lists in the order of due times are told
  if due > now then
    to_delayed(job.id, job.queue, job.name, due, 'delayed')
    return 'ok'
  end
  local ttl = tonumber(redis.call('HGET', job_key(job.id), 'ttl'))
  to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
  redis.call('HDEL', job_key(job.id), 'runAt', 'why', 'ttl')
  if ttl then start_ttl(job.id, job.queue, ttl, soon) end
  return 'ok'
end
