#!lua flags=allow-oom
-- Brings what a job expects to go on as (see expect); kept aside while the job still runs.
--@include context events metrics deliveries lanes queues removal finish moves actions staging
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] job id   [3] JSON {name, data, celery, queue?}, all texts   [4] ms until it may start, 0: now
-- Returns 1, or 0 if the job expects nothing
-- O(log n)
local job = load(ARGV[2])
local key = job_key(ARGV[2])
if not job or not redis.call('HGET', key, 'expects') then return 0 end
if job.state == 'active' then
  redis.call('HSET', key, 'supplied', ARGV[3])
  return 1
end
take_out(job)
redis.call('HDEL', key, 'expects')
give(job, cjson.decode(ARGV[3]))
local delay = tonumber(ARGV[4])
if delay > 0 then
  to_delayed(job.id, job.queue, job.name, soon + delay, 'delayed')
else
  to_waiting(job.id, job.queue, job.name, job.priority, job.lifo, now)
end
settle_queues()
write_metrics()
return 1
