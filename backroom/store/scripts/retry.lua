#!lua
-- Runs a finished job again, with its options and priority.
--@include context events metrics deliveries lanes queues removal finish moves actions acts
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] '1' to give it all its tries again; else it has one more
-- Returns {'ok'}, {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
if not retry(job, ARGV[3] == '1') then return {'state', job.state} end
settle_queues()
write_metrics()
return {'ok'}
