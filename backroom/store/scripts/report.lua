#!lua flags=allow-oom
-- What a running job says while it runs: progress and log lines. Refused unless `token` holds the job.
--@include context events logs
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] token   [4] progress, JSON, or ''   [5] log lines, MessagePack array
-- Returns 1, 2 (and someone asked to cancel it) or 0 (refused)
-- O(lines)
local id, key = ARGV[2], job_key(ARGV[2])
local job = redis.call('HMGET', key, 'token', 'queue', 'name', 'cancel')
if job[1] ~= ARGV[3] then return 0 end
if ARGV[4] ~= '' then
  redis.call('HSET', key, 'progress', ARGV[4])
  event('progress', id, job[2], job[3], 'progress', ARGV[4])
end
local lines = cmsgpack.unpack(ARGV[5])
if #lines > 0 then append_logs(id, lines) end
return job[4] and 2 or 1
