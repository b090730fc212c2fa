#!lua flags=allow-oom
-- Gives a delayed job another due time; at or before now it becomes waiting at once.
--@include context events metrics deliveries lanes queues removal finish moves actions acts
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] due time, ms since 1970, or ''   [4] else: delay from now, ms
-- Returns {'ok'}, {'missing'} or {'state', state}
-- O(log n)
local job = load(ARGV[2])
if not job then return {'missing'} end
local delay = tonumber(ARGV[4]) or 0
local due = tonumber(ARGV[3]) or (delay > 0 and soon + delay or now)
if not reschedule(job, due) then return {'state', job.state} end
settle_queues()
return {'ok'}
