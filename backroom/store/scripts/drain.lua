#!lua flags=allow-oom
-- Removes waiting jobs of a queue (and delayed ones), a step at a time. Active and finished jobs stay, and so do schedules.
--@include context events metrics deliveries lanes queues removal actions
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] queue   [3] state: 'waiting' or 'delayed'   [4] jobs to remove at most, 0..1000   [5] '1' in the last step
-- Returns how many it removed
-- O(jobs * log n)
local queue = ARGV[2]
local limit = tonumber(ARGV[4])
local ids = limit > 0 and redis.call('ZRANGE', state_key(queue, ARGV[3]), 0, limit - 1) or {}
for _, id in ipairs(ids) do remove(queue, ARGV[3], id) end
if ARGV[5] == '1' then event('drained', '', queue, '') end
settle_queues()
return #ids
