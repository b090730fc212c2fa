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

-- Of what is given with a job, this goes into its record as it is.
local KEPT = {lifo = true, attempts = true, maxStalled = true, keepC = true, keepF = true, options = true, user = true, trace = true,
  request = true, celery = true, hook = true}

local kinds = {} -- queue -> name -> what its jobs have in common

local function kind_of(queue, name)
  local names = kinds[queue]
  if not names then names = {} kinds[queue] = names end
  local kind = names[name]
  if not kind then
    kind = {by_queue = P .. 'by:queue:' .. queue, by_name = P .. 'by:name:' .. name, waiting = state_key(queue, 'waiting'),
      submitted = metric_of('submitted', queue, name)}
    names[name] = kind
  end
  return kind
end

local function store(job, place)
  local id, queue, name = job.id, job.queue, job.name
  local kind, created = kind_of(queue, name), micros + place
  local due = job.runAt or (job.delay and job.delay > 0 and soon + job.delay)
  if due and due <= now then due = nil end
  local record, size
  if due then
    record, size = {'name', name, 'queue', queue, 'data', job.data, 'created', now}, 8
  else
    record, size = {'name', name, 'queue', queue, 'data', job.data, 'created', now, 'state', 'waiting', 'ready', now}, 12
  end
  local function add(field, value)
    record[size + 1], record[size + 2], size = field, value, size + 2
  end
  for field, value in pairs(job) do
    if KEPT[field] then add(field, value == true and 1 or value) end
  end
  if job.priority and job.priority ~= 0 then add('priority', job.priority) end
  if job.tags then add('tags', cjson.encode(job.tags)) end
  if job.ttl and due then add('ttl', job.ttl) end
  redis.call('HSET', job_key(id), unpack(record))
  enter(kind.by_queue, created, id)
  enter(kind.by_name, created, id)
  if job.user then enter(P .. 'by:user:' .. job.user, created, id) end
  for _, tag in ipairs(job.tags or {}) do enter(P .. 'by:tag:' .. tag, created, id) end
  event('added', id, queue, name)
  gather(kind.submitted)
  rate(queue, 'submitted')
  if due then
    to_delayed(id, queue, name, due, 'delayed')
    return 'delayed'
  end
  enter(kind.waiting, waiting_score(job), id)
  event('waiting', id, queue, name)
  note_filled(queue)
  if job.ttl then start_ttl(id, queue, job.ttl, soon) end
  return 'waiting'
end
