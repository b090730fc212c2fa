#!lua flags=allow-oom
-- Gives a delayed job another due time; at or before now it becomes waiting at once.
--@include context events metrics queues removal finish moves actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] due time, ms since 1970, or ''   [4] else: delay from now, ms
-- Returns {'ok'}, {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if job.state ~= 'delayed' then return {'state', job.state} end
local delay = tonumber(ARGV[4]) or 0
local due = tonumber(ARGV[3]) or (delay > 0 and soon + delay or now)
take_out(job)
redis.call('HSET', job_key(job.id), 'moved', now) -- lists in the order of due times are told
if due > now then
  to_delayed(job.id, job.queue, job.name, due, 'delayed')
else
  local ttl = tonumber(redis.call('HGET', job_key(job.id), 'ttl'))
  to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
  redis.call('HDEL', job_key(job.id), 'runAt', 'why', 'ttl')
  if ttl then start_ttl(job.id, job.queue, ttl, soon) end
end
settle_queues()
return {'ok'}
