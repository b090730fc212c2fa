#!lua flags=allow-oom
-- Cancels a job: at once if nobody runs it; a running one is marked, and its worker is told, or it is left alone.
--@include context events metrics deliveries lanes queues removal finish moves actions acts
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] '0': leave a running job alone
-- Returns {'ok'}, {'asked'} (running: stopped within seconds), {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
local done = cancel(job, ARGV[3] ~= '0')
if not done then return {'state', job.state} end
settle_queues()
write_metrics()
return {done}
