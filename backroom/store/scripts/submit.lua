#!lua
-- Stores jobs, all or none.
--@include context events metrics deliveries lanes queues removal finish moves storing
-- KEYS[1] key prefix
-- ARGV[1] settings, see context
--     [2] jobs, MessagePack array, at most 1000, of {id, name, queue, data, priority?, lifo?, delay? ms, runAt? ms, attempts?,
--         maxStalled?, ttl? ms, keepC?, keepF?, options?, user?, tags?, trace?, request?, celery?, hook?}
--     [3] name of an idempotency key, or '': what was submitted under it is answered again, and nothing is stored
-- Returns {'ok', now in µs, [state, duplicate 0/1, held 0/1 (its queue starts nothing now) for each job]} or {'full', queue, limit}:
--     then nothing is stored
-- O(jobs * log n)
local jobs, answers = cmsgpack.unpack(ARGV[2]), {'ok', micros}
local once, added = ARGV[3] ~= '' and P .. 'idempotency:' .. ARGV[3], false
local before = once and redis.call('HGET', once, 'submitted')
if before then return cmsgpack.unpack(before) end

-- A queue with a maximum length takes all or none.
local stored, keys = {}, {} -- id -> its state (an id may come twice in one call)
for place, job in ipairs(jobs) do keys[place] = job_key(job.id) end
local all_new = redis.call('EXISTS', unpack(keys)) == 0
for place, job in ipairs(jobs) do
  if stored[job.id] == nil then
    stored[job.id] = not all_new and redis.call('HGET', keys[place], 'state')
    if not stored[job.id] then note_coming(job.queue) end
  end
end
for queue, more in pairs(coming) do
  local most = meta(queue).max_length
  if most then
    local held = redis.call('ZCARD', state_key(queue, 'waiting')) + redis.call('ZCARD', state_key(queue, 'delayed'))
    if held + more > most then return {'full', queue, most} end
  end
end
for queue in pairs(coming) do
  if not meta(queue).has_had_jobs then know_queue(queue) end
end

for place, job in ipairs(jobs) do
  local state = stored[job.id]
  if state then
    event('duplicated', job.id, job.queue, job.name)
  else
    stored[job.id] = store(job, place - 1)
    added = true
  end
  answers[#answers + 1] = state or stored[job.id]
  answers[#answers + 1] = state and 1 or 0
  answers[#answers + 1] = job.queue -- its readiness is known at the end
end
settle_queues()
write_metrics()
local held_back = {}
for at = 5, #answers, 3 do
  local queue = answers[at]
  if held_back[queue] == nil then
    held_back[queue] = (standing[queue] or redis.call('ZSCORE', P .. 'ready', queue)) and 0 or 1
  end
  answers[at] = held_back[queue]
end
if once and added and redis.call('EXISTS', once) == 1 then redis.call('HSET', once, 'submitted', cmsgpack.pack(answers)) end
return answers
