#!lua flags=allow-oom
-- Hands out again the jobs of a claim whose answer was lost on its way to the worker.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] worker id   [3] token of the lost claim   [4] lease, ms
-- Returns the jobs as exchange does; none if the claim never took place
-- O(jobs * log n)
local claim = redis.call('GET', P .. 'claim:' .. ARGV[2])
if not claim then return {} end
local ids = cmsgpack.unpack(claim)
local found = {}
for _, id in ipairs(ids) do
  local job = redis.call('HMGET', job_key(id), 'token', 'name', 'queue', 'data', 'made', 'stalled', 'options', 'celery', 'trace')
  if job[1] == ARGV[3] then
    redis.call('ZADD', state_key(job[3], 'active'), 'XX', now + tonumber(ARGV[4]), id)
    found[#found + 1] = {id, job[2], job[3], job[4], job[5] or '0', job[6] or '0', job[7] or '', job[8] or '', job[9] or ''}
  end
end
return found
