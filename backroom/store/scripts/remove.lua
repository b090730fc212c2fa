#!lua flags=allow-oom
-- Removes a job that is not running, with its logs and results.
--@include context events metrics deliveries lanes queues removal actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id
-- Returns {'ok'}, {'missing'} or {'state', 'active'}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if job.state == 'active' then return {'state', job.state} end
remove(job.queue, job.state, job.id)
settle_queues()
return {'ok'}
