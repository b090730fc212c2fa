#!lua flags=allow-oom
-- Cancels a job: at once if nobody runs it; a running one is marked, and its worker is told, or it is left alone.
--@include context events metrics queues removal finish actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] '0': leave a running job alone
-- Returns {'ok'}, {'asked'} (running: stopped within seconds), {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if job.state == 'active' then
  if ARGV[3] == '0' then return {'state', job.state} end
  redis.call('HSET', job_key(job.id), 'cancel', now)
  redis.call('PUBLISH', P .. 'control', cjson.encode({cancel = job.id, worker = job.worker}))
  return {'asked'}
end
if FINISHED[job.state] then return {'state', job.state} end
take_out(job)
redis.call('HDEL', job_key(job.id), 'runAt', 'why', 'expires', 'ttl', 'expects')
finish(job.id, job.queue, job.name, 'cancelled', job.keep_failed)
settle_queues()
write_metrics()
return {'ok'}
