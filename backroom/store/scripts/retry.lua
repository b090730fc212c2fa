#!lua
-- Runs a finished job again, with its options and priority.
--@include context events metrics queues removal finish moves actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] '1' to give it all its tries again; else it has one more
-- Returns {'ok'}, {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if job.state ~= 'completed' and job.state ~= 'failed' and job.state ~= 'cancelled' and job.state ~= 'expired' then
  return {'state', job.state}
end
local key = job_key(job.id)
take_out(job)
local was = redis.call('HMGET', key, 'made', 'started', 'finished', 'worker', 'attempts', 'run', 'options')
if job.state == 'completed' then -- a good last try is not in the log: it can be read off the job while it is completed
  log_try(job.id, {attempt = tonumber(was[1]), startedAt = tonumber(was[2]), finishedAt = tonumber(was[3]), worker = was[4] or nil,
    outcome = 'completed', runMs = tonumber(was[6])})
end
if ARGV[3] == '1' then
  redis.call('HSET', key, 'made', 0)
  local options = decode_or_nil(was[7])
  if options and options.attempts then redis.call('HSET', key, 'attempts', options.attempts) end
elseif (tonumber(was[1]) or 0) >= (tonumber(was[5]) or 1) then
  redis.call('HSET', key, 'attempts', (tonumber(was[1]) or 0) + 1)
end
redis.call('HDEL', key, 'finished', 'result', 'run', 'started', 'worker', 'progress', 'cancel', 'why', 'runAt', 'stalled', 'deferred',
  'expires', 'error')
to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
local options = decode_or_nil(was[7])
if options then start_ttl(job.id, job.queue, options.ttl, now) end
settle_queues()
write_metrics()
return {'ok'}
