#!lua flags=allow-oom
-- Renews the leases of a worker's jobs.
--@include context reach
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] lease, ms   [3] jobs, MessagePack array of {id, token, queue}, at most 1000
-- Returns for each job 1 (renewed), 0 (no longer this worker's) or 2 (renewed, and someone asked to cancel it)
-- O(jobs * log n)
reached()
local answers = {}
for place, held in ipairs(cmsgpack.unpack(ARGV[3])) do
  local job = redis.call('HMGET', job_key(held[1]), 'token', 'cancel')
  if job[1] == held[2] then
    redis.call('ZADD', state_key(held[3], 'active'), 'XX', now + tonumber(ARGV[2]), held[1])
    answers[place] = job[2] and 2 or 1
  else
    answers[place] = 0
  end
end
return answers
