-- Forgets a job that is in no state's set any more: its record, its logs and its places in the indexes.
local function forget(id)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'queue', 'name', 'user', 'tags')
  if job[1] == INTERNAL then lose_delivery(id) end
  if job[1] then redis.call('ZREM', P .. 'by:queue:' .. job[1], id) end
  if job[2] then redis.call('ZREM', P .. 'by:name:' .. job[2], id) end
  if job[3] then redis.call('ZREM', P .. 'by:user:' .. job[3], id) end
  for _, tag in ipairs(job[4] and cjson.decode(job[4]) or {}) do redis.call('ZREM', P .. 'by:tag:' .. tag, id) end
  redis.call('UNLINK', key, key .. ':tries', key .. ':logs')
end

-- Finished jobs that are not to be kept for ever are in two more sets of their queue: `old:completed` or `old:failed` (all
-- other ends) by the time they finished, of which only so many are kept, and `until` by the time (ms) they are kept until.
local function old_key(queue, state)
  return state_key(queue, state == 'completed' and 'old:completed' or 'old:failed')
end

-- Takes a finished job out of the sets it is in.
local function take_out_finished(id, queue, state)
  redis.call('ZREM', state_key(queue, state), id)
  redis.call('ZREM', old_key(queue, state), id)
  redis.call('ZREM', state_key(queue, 'until'), id)
end

-- Forgets at most `limit` finished jobs of the queue whose time is over. Returns how many.
local function forget_old(queue, limit)
  local gone = redis.call('ZRANGE', state_key(queue, 'until'), '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(gone) do
    take_out_finished(id, queue, redis.call('HGET', job_key(id), 'state') or 'completed')
    forget(id)
  end
  return #gone
end
