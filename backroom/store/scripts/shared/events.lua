-- One capped stream of everything that happens. What happens in a script is written together, at its end (`load_script` sees to
-- that): an entry has one field, JSON [[type, job id, queue, name, field, value, ...], ...], all of them strings.
local EVENTS_AN_ENTRY = 32
local happened = {}

local function write_events()
  if #happened == 0 then return end
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', settings.events, '*', 'events', cjson.encode(happened))
  happened = {}
end

-- `...` are further field, value pairs, as strings. The time of an event is in the id of its entry.
local function event(kind, id, queue, name, ...)
  if #happened == EVENTS_AN_ENTRY then write_events() end
  happened[#happened + 1] = {kind, id, queue, name, ...}
end

-- What webhooks are to tell goes into the outbox, with the job as it is at the event; see `backroom.store.outbox`. That costs one
-- look a script, at `webhooks:wanted` (the events that endpoints want), and nothing more where nobody asks to be told.
local TOLD = {'name', 'queue', 'state', 'data', 'options', 'priority', 'tags', 'made', 'attempts', 'stalled', 'progress', 'result',
  'error', 'created', 'runAt', 'ready', 'started', 'finished', 'run', 'worker', 'trace', 'request'}
local LARGE = {'error', 'result', 'data', 'progress'} -- left out of a notice, the last first, where they are too large for it
local INTERNAL = '_internal'
local hooks = {} -- job id -> its own webhook, ' event event url', or false: where a script has read it anyway
local wanted, scheduler_told

-- Tells of the job, if somebody wants to hear. `...` are field, value pairs that are not in its record yet.
local function notify(kind, id, queue, ...)
  local own = hooks[id]
  if own == nil then own = redis.call('HGET', job_key(id), 'hook') end
  if wanted == nil then wanted = redis.call('GET', P .. 'webhooks:wanted') end
  local mine = own and own:find(' ' .. kind .. ' ', 1, true)
  local theirs = wanted and wanted:find(' ' .. kind .. ' ', 1, true)
  if not (mine or theirs) or queue == INTERNAL then return end
  local found, job = redis.call('HMGET', job_key(id), unpack(TOLD)), {}
  for place, field in ipairs(TOLD) do job[field] = found[place] or nil end
  local newer = {...}
  for at = 1, #newer, 2 do job[newer[at]] = newer[at + 1] end
  local room, omitted = settings.webhookBytes, {}
  for _, field in ipairs(LARGE) do
    local size = job[field] and #job[field] or 0
    if size > room then
      job[field] = nil
      omitted[#omitted + 1] = field
    else
      room = room - size
    end
  end
  local entry = {'event', kind, 'job', id, 'theirs', theirs and '1' or '', 'url', mine and own:match('%S+$') or '',
    'omitted', table.concat(omitted, ' ')}
  for field, value in pairs(job) do
    entry[#entry + 1] = field
    entry[#entry + 1] = value
  end
  redis.call('XADD', P .. 'webhooks:outbox', '*', unpack(entry))
  if not scheduler_told then redis.call('ZADD', P .. 'wake:scheduler', 0, 1) end
  scheduler_told = true
end
