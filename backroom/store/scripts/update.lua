#!lua
-- Changes data, priority or tags of a job that is not running, if it is still what the caller has read.
--@include context events metrics deliveries lanes queues removal moves actions
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] job id   [3] version the caller has read (see records)   [4] MessagePack {data?, user?, priority?, tags?,
--     options?: JSON text of all options}
-- Returns {'ok'}, {'missing'}, {'state', state} or {'stale'}
-- O(log n)
local id, key = ARGV[2], job_key(ARGV[2])
local job = load(id)
if not job then return {'missing'} end
if job.state == 'active' or FINISHED[job.state] then return {'state', job.state} end

-- The same fields in the same order as `version_of` in records.
local record = redis.call('HMGET', key, 'state', 'data', 'priority', 'tags', 'attempts', 'made', 'stalled', 'ready', 'runAt', 'started',
  'finished', 'progress', 'result', 'error', 'worker', 'why', 'cancel')
local parts = {}
for at = 1, 17 do parts[at] = record[at] or '' end
if redis.sha1hex(table.concat(parts, '\0')):sub(1, 16) ~= ARGV[3] then return {'stale'} end

local change = cmsgpack.unpack(ARGV[4])
if change.options then redis.call('HSET', key, 'options', change.options) end
if change.data then
  redis.call('HSET', key, 'data', change.data)
  local before, created = redis.call('HGET', key, 'user'), redis.call('ZSCORE', P .. 'by:queue:' .. job.queue, id)
  if before and before ~= change.user then redis.call('ZREM', P .. 'by:user:' .. before, id) end
  if change.user then
    redis.call('HSET', key, 'user', change.user)
    redis.call('ZADD', P .. 'by:user:' .. change.user, created, id)
  else
    redis.call('HDEL', key, 'user')
  end
end
if change.tags then
  local created = redis.call('ZSCORE', P .. 'by:queue:' .. job.queue, id)
  local before = redis.call('HGET', key, 'tags')
  for _, tag in ipairs(before and cjson.decode(before) or {}) do redis.call('ZREM', P .. 'by:tag:' .. tag, id) end
  for _, tag in ipairs(change.tags) do redis.call('ZADD', P .. 'by:tag:' .. tag, created, id) end
  if #change.tags > 0 then redis.call('HSET', key, 'tags', cjson.encode(change.tags)) else redis.call('HDEL', key, 'tags') end
end
if change.priority and change.priority ~= job.priority then
  redis.call('HSET', key, 'priority', change.priority)
  if job.state == 'waiting' then
    local ready = tonumber(redis.call('HGET', key, 'ready')) or now
    redis.call('ZREM', state_key(job.queue, 'waiting'), id)
    to_waiting(id, job.queue, job.name, change.priority, job.lifo, ready)
    redis.call('HSET', key, 'moved', now) -- lists in the order of priorities are told
  end
end
settle_queues()
return {'ok'}
