-- What people do to single jobs. Scripts answer {'ok', ...}, {'missing'} or {'state', the state that forbids it}.
local function load(id)
  local found = redis.call('HMGET', job_key(id), 'state', 'queue', 'name', 'priority', 'lifo', 'keepF', 'worker')
  if not found[1] then return nil end
  return {id = id, state = found[1], queue = found[2], name = found[3], priority = tonumber(found[4]) or 0, lifo = found[5],
    keep_failed = found[6] or nil, worker = found[7] or ''}
end

local FINISHED = {completed = true, failed = true, cancelled = true, expired = true}

-- Takes a job that is not active out of the sets of its state.
local function take_out(job)
  if FINISHED[job.state] then return take_out_finished(job.id, job.queue, job.state) end
  redis.call('ZREM', state_key(job.queue, job.state), job.id)
  redis.call('ZREM', state_key(job.queue, 'ttl'), job.id)
  note_change(job.queue)
  if job.state == 'delayed' then note_due(job.queue) end
end

-- Removes a job that is in this set of the queue, with everything of it; one whose record was deleted by hand only leaves
-- the set. Returns the job, if there was one.
local function remove(queue, state, id)
  local job = load(id)
  if job then
    take_out(job)
    forget(id)
    event('removed', id, queue, job.name)
  else
    redis.call('ZREM', state_key(queue, state), id)
  end
  return job
end
