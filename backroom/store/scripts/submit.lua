#!lua
-- Stores jobs, all or none.
--@include context events metrics queues removal finish moves
-- KEYS[1] key prefix
-- ARGV[1] settings, see context
--     [2] jobs, MessagePack array, at most 1000, of {id, name, queue, data, priority?, lifo?, delay? ms, runAt? ms, attempts?,
--         maxStalled?, ttl? ms, keepC?, keepF?, options?, user?, tags?, trace?, celery?}
-- Returns {'ok', [state or 'new state', duplicate 0/1 for each job]} or {'full', queue, limit}: then nothing is stored
-- O(jobs * log n)
local jobs, answers = cmsgpack.unpack(ARGV[2]), {'ok'}

-- A queue with a maximum length takes all or none.
local coming = {}
for _, job in ipairs(jobs) do
  if redis.call('EXISTS', job_key(job.id)) == 0 then coming[job.queue] = (coming[job.queue] or 0) + 1 end
end
for queue, more in pairs(coming) do
  local most = tonumber(redis.call('HGET', queue_key(queue), 'maxLength'))
  if most then
    local held = redis.call('ZCARD', state_key(queue, 'waiting')) + redis.call('ZCARD', state_key(queue, 'delayed'))
    if held + more > most then return {'full', queue, most} end
  end
end

local known = {}
local function store(job, place)
  local id, queue, name = job.id, job.queue, job.name
  local record = {'name', name, 'queue', queue, 'data', job.data, 'created', now}
  local function add(field, value)
    if value ~= nil then
      record[#record + 1] = field
      record[#record + 1] = value
    end
  end
  local priority = job.priority or 0
  if priority ~= 0 then add('priority', priority) end
  if job.lifo then add('lifo', 1) end
  add('attempts', job.attempts) add('maxStalled', job.maxStalled) add('keepC', job.keepC) add('keepF', job.keepF)
  add('options', job.options) add('user', job.user) add('trace', job.trace) add('celery', job.celery)
  if job.tags then add('tags', cjson.encode(job.tags)) end
  local due = job.runAt or (job.delay and job.delay > 0 and now + job.delay)
  local delayed = due and due > now
  if job.ttl and delayed then add('ttl', job.ttl) end
  redis.call('HSET', job_key(id), unpack(record))
  local created = micros + place
  redis.call('ZADD', P .. 'by:queue:' .. queue, created, id)
  redis.call('ZADD', P .. 'by:name:' .. name, created, id)
  if job.user then redis.call('ZADD', P .. 'by:user:' .. job.user, created, id) end
  for _, tag in ipairs(job.tags or {}) do redis.call('ZADD', P .. 'by:tag:' .. tag, created, id) end
  if not known[queue] then
    know_queue(queue)
    known[queue] = true
  end
  event('added', id, queue, name)
  count('submitted', queue, name)
  rate(queue, 'submitted')
  if delayed then
    to_delayed(id, queue, name, due, 'delayed')
    return 'delayed'
  end
  to_waiting(id, queue, name, priority, job.lifo, now)
  start_ttl(id, queue, job.ttl, now)
  return 'waiting'
end

for place, job in ipairs(jobs) do
  local state = redis.call('HGET', job_key(job.id), 'state')
  if state then
    event('duplicated', job.id, job.queue, job.name)
    answers[#answers + 1] = state
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = store(job, place - 1)
    answers[#answers + 1] = 0
  end
end
settle_queues()
write_metrics()
return answers
