-- Forgets a job that is in no state's set any more: its record, its logs and its places in the indexes.
local function forget(id)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'queue', 'name', 'user', 'tags')
  if job[1] then redis.call('ZREM', P .. 'by:queue:' .. job[1], id) end
  if job[2] then redis.call('ZREM', P .. 'by:name:' .. job[2], id) end
  if job[3] then redis.call('ZREM', P .. 'by:user:' .. job[3], id) end
  for _, tag in ipairs(decode_or_nil(job[4]) or {}) do redis.call('ZREM', P .. 'by:tag:' .. tag, id) end
  redis.call('UNLINK', key, key .. ':tries', key .. ':logs')
end

-- Forgets at most `limit` finished jobs of the queue whose time is over. Returns how many.
local function forget_old(queue, limit)
  local gone = 0
  for _, kind in ipairs({'completed', 'failed'}) do
    local old = state_key(queue, 'old:' .. kind)
    local ids = redis.call('ZRANGE', old, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit - gone)
    for _, id in ipairs(ids) do
      local state = redis.call('HGET', job_key(id), 'state')
      if state then redis.call('ZREM', state_key(queue, state), id) end
      redis.call('ZREM', old, id)
      forget(id)
      gone = gone + 1
    end
  end
  return gone
end
