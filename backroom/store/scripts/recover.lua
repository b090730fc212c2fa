#!lua flags=allow-oom
-- Hands out again the jobs of a claim whose answer was lost on its way to the worker.
--@include context claims
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] token of the lost claim   [4] lease, ms
-- Returns the jobs as exchange does; none if the claim never took place
-- O(jobs * log n)
local _, ids = recall_exchange(ARGV[2], ARGV[3])
return hand_out_again(ids or {}, ARGV[3], tonumber(ARGV[4]))
