#!lua flags=allow-oom
-- Looks after some queues: lost leases, jobs past their ttl, finished jobs past their time, and readiness.
--@include context reach events metrics deliveries lanes queues removal finish moves logs staging outcomes
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] place of the first queue in the registry   [3] queues to look at   [4] jobs to touch, at most 1000
-- Returns {next place or -1 behind the last queue, stalled, expired, forgotten, 1 if a queue has more to do: it has another turn
--     when all others have had theirs}
-- O(queues + jobs * log n)
local first, queues, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stalled, expired, forgotten = 0, 0, 0
local names = redis.call('ZRANGE', P .. 'queues', first, first + queues - 1)
local next_place, more = #names < queues and -1 or first + #names, 0

local function left() return limit - stalled - expired - forgotten end

reached()
local leases_may_end = leases_end()
for place, queue in ipairs(names) do
  local lost = leases_may_end
    and redis.call('ZRANGE', state_key(queue, 'active'), '-inf', '(' .. now, 'BYSCORE', 'LIMIT', 0, left()) or {}
  for _, id in ipairs(lost) do
    local held = take_back(id, nil)
    if held then
      lose(held, 'the lease of ' .. held.worker .. ' ended')
      stalled = stalled + 1
    else -- its record was deleted by hand
      redis.call('ZREM', state_key(queue, 'active'), id)
    end
  end
  local late = redis.call('ZRANGE', state_key(queue, 'ttl'), '-inf', now, 'BYSCORE', 'LIMIT', 0, left())
  for _, id in ipairs(late) do
    redis.call('ZREM', state_key(queue, 'ttl'), id)
    local job = redis.call('HMGET', job_key(id), 'name', 'keepF')
    if redis.call('ZREM', state_key(queue, 'waiting'), id) == 1 and job[1] then
      finish(id, queue, job[1], 'expired', job[2] or nil)
      expired = expired + 1
    end
  end
  forgotten = forgotten + forget_old(queue, left())
  note_change(queue)
  note_due(queue)
  if left() <= 0 then
    next_place, more = first + place, 1
    break
  end
end
settle_queues()
write_metrics()
return {next_place, stalled, expired, forgotten, more}
