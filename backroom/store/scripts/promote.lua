#!lua flags=allow-oom
-- Moves due jobs from delayed to waiting, and opens rate windows that have ended.
--@include context events metrics deliveries lanes queues removal finish moves
-- KEYS[1] key prefix   ARGV[1] settings   [2] the most jobs to move, 1..1000
-- Returns {jobs moved, ms until the next due job or -1}; 0 ms means there is more to do now
-- O(jobs * log n)
local moved = promote_due(tonumber(ARGV[2]))
settle_queues()
write_metrics()
local due = next_due()
return {moved, due and math.max(0, due - now) or -1}
