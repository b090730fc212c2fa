#!lua
-- Runs a finished job again, with its options and priority.
--@include context events metrics queues removal finish moves actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] '1' to give it all its tries again; else it has one more
-- Returns {'ok'}, {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if not FINISHED[job.state] then return {'state', job.state} end
local key = job_key(job.id)
take_out(job)
local was = redis.call('HMGET', key, 'made', 'started', 'finished', 'worker', 'attempts', 'run', 'options')
if job.state == 'completed' then -- a good last try is not in the log: it can be read off the job while it is completed
  log_try(job.id, {attempt = tonumber(was[1]), startedAt = tonumber(was[2]), finishedAt = tonumber(was[3]), worker = was[4] or nil,
    outcome = 'completed', runMs = tonumber(was[6])})
end
local options, made = cjson.decode(was[7] or '{}'), tonumber(was[1]) or 0
if ARGV[3] == '1' then
  redis.call('HDEL', key, 'made', 'attempts')
  if options.attempts then redis.call('HSET', key, 'attempts', options.attempts) end
elseif made >= (tonumber(was[5]) or 1) then
  redis.call('HSET', key, 'attempts', made + 1)
end
redis.call('HDEL', key, 'finished', 'result', 'run', 'started', 'worker', 'progress', 'why', 'stalled', 'deferred', 'expires', 'told')
to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
if options.ttl then start_ttl(job.id, job.queue, options.ttl, soon) end
settle_queues()
write_metrics()
return {'ok'}
