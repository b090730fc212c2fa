#!lua
-- Makes a job of a schedule now, outside its slots.
--@include context events metrics queues removal finish moves storing schedules firing
-- KEYS[1] key prefix   ARGV[1] settings   [2] schedule key   [3] id of the job
-- Returns 1, or 0 if there is no such schedule
-- O(log n)
if redis.call('EXISTS', schedule_key(ARGV[2])) == 0 then return 0 end
make_jobs(ARGV[2], {{id = ARGV[3]}})
return 1
