#!lua flags=allow-oom
-- Removes a queue with everything in it, a step at a time. The first step pauses it; the last one forgets that it existed.
--@include context events metrics deliveries lanes queues removal actions
-- KEYS[1] key prefix   ARGV[1] settings   [2] queue   [3] '1' to remove running jobs too   [4] jobs to remove at most, 1..1000
-- Returns {'more', removed}, {'done', removed}, {'active', how many run} (nothing removed) or {'missing'}
-- O(jobs * log n)
local queue, force, limit = ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
if not redis.call('ZSCORE', P .. 'queues', queue) then return {'missing'} end
local running = redis.call('ZCARD', state_key(queue, 'active'))
if running > 0 and not force then return {'active', running} end
redis.call('HSET', queue_key(queue), 'paused', 1)
redis.call('ZREM', P .. 'ready', queue)
local removed = 0
for _, state in ipairs({'waiting', 'delayed', 'waiting-children', 'active', 'completed', 'failed', 'cancelled', 'expired'}) do
  local ids = redis.call('ZRANGE', state_key(queue, state), 0, limit - removed - 1)
  for _, id in ipairs(ids) do
    local job = remove(queue, state, id)
    if job and state == 'active' then
      redis.call('PUBLISH', P .. 'control', cjson.encode({cancel = id, worker = job.worker}))
    end
    removed = removed + 1
  end
  if removed >= limit then return {'more', removed} end
end
for _, set in ipairs({'queues', 'ready', 'due', 'limited', 'named'}) do redis.call('ZREM', P .. set, queue) end
redis.call('UNLINK', queue_key(queue), P .. 'wake:' .. queue, state_key(queue, 'ttl'), state_key(queue, 'until'),
  state_key(queue, 'old:completed'), state_key(queue, 'old:failed'))
local rates = {}
for ago = 0, RATED_MINUTES do rates[#rates + 1] = P .. 'rates:' .. queue .. ':' .. (math.floor(now / 60000) - ago) end
redis.call('UNLINK', unpack(rates))
event('obliterated', '', queue, '')
return {'done', removed}
