-- What a job goes on as, when its last try changed that: `new` is {name, data, celery, queue?}; its task, and its queue, may be
-- others from now on. Takes a job {id, name, queue} that is in no state's set.
local function move_index(kind, from, to, id)
  local created = redis.call('ZSCORE', P .. 'by:' .. kind .. ':' .. from, id)
  redis.call('ZREM', P .. 'by:' .. kind .. ':' .. from, id)
  redis.call('ZADD', P .. 'by:' .. kind .. ':' .. to, created or micros, id)
end

local function give(job, new)
  local queue = new.queue or job.queue
  redis.call('HSET', job_key(job.id), 'name', new.name, 'queue', queue, 'data', new.data, 'celery', new.celery)
  if new.name ~= job.name then move_index('name', job.name, new.name, job.id) end
  if queue ~= job.queue then
    move_index('queue', job.queue, queue, job.id)
    know_queue(queue)
  end
  job.name, job.queue = new.name, queue
end
