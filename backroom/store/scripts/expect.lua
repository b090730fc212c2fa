#!lua flags=allow-oom
-- A running job will go on under its id as something that others will bring: Celery's self.replace(chain or chord).
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] token
-- Returns 1, or 0 if `token` does not hold the job
-- O(1)
local key = job_key(ARGV[2])
if redis.call('HGET', key, 'token') ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'expects', 1)
return 1
