-- How a schedule makes jobs.
local KEPT_FIRES = 10 -- entries in the history of a schedule

-- Stores a job of the schedule for each of `fires`, {slot (ms; none: by hand), id}.
local function make_jobs(key, fires)
  local job = cjson.decode(redis.call('HGET', schedule_key(key), 'job'))
  know_queue(job.queue)
  for _ = 1, #fires do note_coming(job.queue) end
  for place, fire in ipairs(fires) do
    job.id = fire.id
    store(job, place - 1)
    redis.call('LPUSH', fires_key(key), cjson.encode({slot = fire.slot, at = now, jobId = fire.id}))
  end
  redis.call('LTRIM', fires_key(key), 0, KEPT_FIRES - 1)
  settle_queues()
  write_metrics()
end

-- Whether a job that the schedule made lately has not ended yet.
local function is_at_work(key)
  for _, entry in ipairs(redis.call('LRANGE', fires_key(key), 0, -1)) do
    local state = redis.call('HGET', job_key(cjson.decode(entry).jobId), 'state')
    if state == 'waiting' or state == 'delayed' or state == 'active' or state == 'waiting-children' then return true end
  end
  return false
end
