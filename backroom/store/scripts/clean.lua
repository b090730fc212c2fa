#!lua flags=allow-oom
-- Removes old jobs of a queue in one state, a step at a time. Finished jobs are as old as their end, others as their submission.
--@include context events metrics deliveries lanes queues removal actions
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] queue   [3] state, not 'active'   [4] older than this, ms   [5] jobs to remove at most, 1..1000
--     [6] place to begin at (states that are not in the order of age)   [7] jobs to look at, at most 5000
-- Returns {place to go on at or -1 when done, [ids removed]}
-- O(jobs looked at * log n)
local queue, state, before, limit = ARGV[2], ARGV[3], now - tonumber(ARGV[4]), tonumber(ARGV[5])
local place, look = tonumber(ARGV[6]), tonumber(ARGV[7])
local key, removed, next_place = state_key(queue, state), {}, -1

if FINISHED[state] then
  local ids = redis.call('ZRANGE', key, '-inf', before * 1000, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    remove(queue, state, id)
    removed[#removed + 1] = id
  end
  if #ids == limit then next_place = 0 end
else
  local ids = redis.call('ZRANGE', key, place, place + look - 1)
  local kept = 0
  for _, id in ipairs(ids) do
    if #removed >= limit then break end
    local created = tonumber(redis.call('HGET', job_key(id), 'created'))
    if not created or created <= before then
      remove(queue, state, id)
      removed[#removed + 1] = id
    else
      kept = kept + 1
    end
  end
  if #removed >= limit or #ids == look then next_place = place + kept end
end
if #removed > 0 then event('cleaned', '', queue, '', 'state', state, 'removed', ('%d'):format(#removed)) end
settle_queues()
return {next_place, removed}
