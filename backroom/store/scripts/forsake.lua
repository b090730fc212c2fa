#!lua flags=allow-oom
-- What a job expects to go on as (see expect) will never come: it fails.
--@include context events metrics deliveries lanes queues removal finish moves actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] error, JSON text
-- Returns 1, or 0 if the job expects nothing
-- O(log n)
local job = load(ARGV[2])
local key = job_key(ARGV[2])
if not job or not redis.call('HGET', key, 'expects') then return 0 end
if job.state == 'active' then
  redis.call('HSET', key, 'forsaken', ARGV[3])
  return 1
end
take_out(job)
redis.call('HDEL', key, 'expects')
finish(job.id, job.queue, job.name, 'failed', job.keep_failed, 'error', ARGV[3])
settle_queues()
write_metrics()
return 1
