-- Storing new jobs: `note_coming` each first, then `store` each.
local coming = {} -- queue -> how many new jobs this call brings
local function note_coming(queue) coming[queue] = (coming[queue] or 0) + 1 end

local places = {} -- queue -> the next place of this call
local function waiting_score(job)
  local queue, place = job.queue, nil
  if job.lifo then
    place = next_lifo_place(queue)
  else
    place = places[queue] or next_places(queue, coming[queue])
    places[queue] = place + 1
  end
  return (job.priority or 0) * PRIORITY_STEP + place
end

local OPTIONAL = {'lifo', 'attempts', 'maxStalled', 'keepC', 'keepF', 'options', 'user', 'trace', 'request', 'celery', 'hook'}

local function store(job, place)
  local id, queue, name = job.id, job.queue, job.name
  local record = {'name', name, 'queue', queue, 'data', job.data, 'created', now}
  local function add(field, value)
    record[#record + 1] = field
    record[#record + 1] = value
  end
  if job.priority and job.priority ~= 0 then add('priority', job.priority) end
  for _, field in ipairs(OPTIONAL) do
    local value = job[field]
    if value ~= nil then add(field, value == true and 1 or value) end
  end
  if job.tags then add('tags', cjson.encode(job.tags)) end
  local created = micros + place
  enter(P .. 'by:queue:' .. queue, created, id)
  enter(P .. 'by:name:' .. name, created, id)
  if job.user then enter(P .. 'by:user:' .. job.user, created, id) end
  for _, tag in ipairs(job.tags or {}) do enter(P .. 'by:tag:' .. tag, created, id) end
  event('added', id, queue, name)
  count('submitted', queue, name)
  rate(queue, 'submitted')
  local due = job.runAt or (job.delay and job.delay > 0 and soon + job.delay)
  if due and due > now then
    if job.ttl then add('ttl', job.ttl) end
    redis.call('HSET', job_key(id), unpack(record))
    to_delayed(id, queue, name, due, 'delayed')
    return 'delayed'
  end
  add('state', 'waiting')
  add('ready', now)
  redis.call('HSET', job_key(id), unpack(record))
  enter(state_key(queue, 'waiting'), waiting_score(job), id)
  event('waiting', id, queue, name)
  note_change(queue)
  if job.ttl then start_ttl(id, queue, job.ttl, soon) end
  return 'waiting'
end
