-- How a schedule makes jobs.
local KEPT_FIRES = 10 -- entries in the history of a schedule
local LOOKED_AT = 100 -- jobs that may be at work still

local function is_unfinished(id)
  local state = redis.call('HGET', job_key(id), 'state')
  return state == 'waiting' or state == 'delayed' or state == 'active' or state == 'waiting-children'
end

-- Stores a job of the schedule for each of `fires`, {slot (ms; none: by hand), id}.
local function make_jobs(key, fires)
  local found = redis.call('HMGET', schedule_key(key), 'job', 'overlap')
  local job = cjson.decode(found[1])
  know_queue(job.queue)
  for _ = 1, #fires do note_coming(job.queue) end
  for place, fire in ipairs(fires) do
    job.id = fire.id
    store(job, place - 1)
    redis.call('LPUSH', fires_key(key), cjson.encode({slot = fire.slot, at = now, jobId = fire.id}))
  end
  for _, entry in ipairs(found[2] == '0' and redis.call('LRANGE', fires_key(key), KEPT_FIRES, -1) or {}) do
    local id = cjson.decode(entry).jobId
    if is_unfinished(id) then redis.call('SADD', working_key(key), id) end
  end
  redis.call('LTRIM', fires_key(key), 0, KEPT_FIRES - 1)
  settle_queues()
  write_metrics()
end

-- Whether a job that the schedule made has not ended yet.
local function is_at_work(key)
  for _, entry in ipairs(redis.call('LRANGE', fires_key(key), 0, -1)) do
    if is_unfinished(cjson.decode(entry).jobId) then return true end
  end
  for _, id in ipairs(redis.call('SRANDMEMBER', working_key(key), LOOKED_AT)) do
    if is_unfinished(id) then return true end
    redis.call('SREM', working_key(key), id)
  end
  return redis.call('EXISTS', working_key(key)) == 1 -- there are more: a slot is rather left out
end
