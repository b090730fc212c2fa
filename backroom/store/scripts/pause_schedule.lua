#!lua flags=allow-oom
-- Pauses or resumes a schedule.
--@include context schedules
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] the revision that the caller read   [4] '1' pause, '0' resume
--     [5] next slot once it goes on, ms, or '' (finished)
-- Returns 1; or -1: it has changed meanwhile, and nothing was done
-- O(log n)
if not is_still(ARGV[2], ARGV[3]) then return -1 end
revise(ARGV[2], 'paused', ARGV[4], 'next', ARGV[5])
set_next(ARGV[2], ARGV[4] == '1' and '' or ARGV[5])
return 1
