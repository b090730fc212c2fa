-- Sorted sets that many jobs enter or leave at once are written once each, before anybody looks at them (`write_sets`).
local entering, leaving = {}, {}

local function enter(key, score, id)
  local pairs_of = entering[key]
  if not pairs_of then pairs_of = {} entering[key] = pairs_of end
  pairs_of[#pairs_of + 1] = score
  pairs_of[#pairs_of + 1] = id
end

local function leave(key, id)
  local ids = leaving[key]
  if not ids then ids = {} leaving[key] = ids end
  ids[#ids + 1] = id
end

local function write_sets()
  for key, ids in pairs(leaving) do redis.call('ZREM', key, unpack(ids)) end
  for key, pairs_of in pairs(entering) do redis.call('ZADD', key, unpack(pairs_of)) end
  entering, leaving = {}, {}
end

-- Which queues have work that may start now (`ready`), which wait for a rate window (`limited`) or a due time (`due`).
local changed = {}      -- queues whose readiness is to be looked at again at the end of the script
local meta_of = {}      -- queue -> its settings, read at most once a script

local function meta(queue)
  local known = meta_of[queue]
  if known then return known end
  local found = redis.call('HMGET', queue_key(queue), 'paused', 'concurrency', 'rateMax', 'rateDuration',
    'windowBegin', 'windowEnd', 'windowCount', 'limitedUntil', 'maxLength', 'sequence')
  known = {
    paused = found[1] == '1', concurrency = tonumber(found[2]), max = tonumber(found[3]), duration = tonumber(found[4]),
    window_begin = tonumber(found[5]) or 0, window_end = tonumber(found[6]) or 0, window_count = tonumber(found[7]) or 0,
    limited_until = tonumber(found[8]) or 0, max_length = tonumber(found[9]), has_had_jobs = found[10] and true,
  }
  -- No window is longer: the clock was set back since, or the window was made shorter.
  if known.duration and known.window_end > soon + known.duration then known.window_end = 0 end
  meta_of[queue] = known
  return known
end

-- The registry of queues: one exists from the moment it is named.
local function know_queue(queue) redis.call('ZADD', P .. 'queues', 'NX', now, queue) end

-- Until when the queue may start nothing because of a rate limit (ms), or 0.
local function limited_until(known)
  local till = known.limited_until
  if known.max and known.window_end > now and known.window_count >= known.max then till = math.max(till, known.window_end) end
  return till > now and till or 0
end

-- How many jobs of the queue may start now.
local function allowance(queue)
  local known = meta(queue)
  if known.paused then return 0 end
  if limited_until(known) > 0 then return 0 end
  local room, most = math.huge, known.concurrency
  if queue == INTERNAL then most = math.min(most or math.huge, internal_room()) end
  if most then room = most - redis.call('ZCARD', state_key(queue, 'active')) end
  if known.max then
    local used = known.window_end > now and known.window_count or 0
    room = math.min(room, known.max - used)
  end
  return math.max(0, room)
end

local woken = {} -- what was woken in this script

local function wake_once(key)
  if not woken[key] then redis.call('ZADD', key, 0, 1) end
  woken[key] = true
end

-- Workers that serve all but some queues: their kind (see `Served`) -> {when one of it last had nothing to do, the queues that it
-- leaves alone}. The registry of named queues has a member that is no queue's name while there are such workers.
local PICKY = '*'
local picky

local function picky_kinds()
  if picky then return picky end
  picky = {}
  local found = redis.call('HGETALL', P .. 'picky')
  for at = 1, #found, 2 do picky[found[at]] = cmsgpack.unpack(found[at + 1]) end
  return picky
end

-- Wakes one idle worker of those that serve every queue, one of those that serve this one by name, and one of each kind that serve
-- all but some others. Each sleeps on a key of its own: a wake-up must not reach one that leaves the queue alone.
local function wake(queue)
  wake_once(P .. 'wake')
  local known = redis.call('ZMSCORE', P .. 'named', queue, PICKY)
  if known[1] then wake_once(P .. 'wake:' .. queue) end
  if not known[2] then return end
  for kind, entry in pairs(picky_kinds()) do
    if not entry[2][queue] then wake_once(P .. 'wake:' .. PICKY .. kind) end
  end
end

local filled = {} -- queues that got jobs which wait, of which nobody has taken any since

-- Whether the queue has jobs that wait for no more than a slot.
local function has_work(queue)
  if queue == INTERNAL then return lanes_have_work() end
  return filled[queue] or redis.call('EXISTS', state_key(queue, 'waiting')) == 1
end

local standing = {} -- queues that this script knows to be in `ready`

-- Puts the queue where it belongs; true if it has work that may start now.
local function refresh(queue)
  local rest = queue == INTERNAL and end_rests()
  if rest then redis.call('ZADD', P .. 'limited', rest, queue) end
  local waits, known = has_work(queue), meta(queue)
  if waits and allowance(queue) > 0 then
    if not standing[queue] then redis.call('ZADD', P .. 'ready', 'NX', redis.call('GET', P .. 'served') or 0, queue) end
    standing[queue] = true
    if not rest and (known.max or known.limited_until > 0) then redis.call('ZREM', P .. 'limited', queue) end
    return true
  end
  redis.call('ZREM', P .. 'ready', queue)
  standing[queue] = nil
  local till = limited_until(known)
  if waits and till > 0 then redis.call('ZADD', P .. 'limited', till, queue) end
  return false
end

local function note_change(queue) changed[queue] = true end

local function note_filled(queue)
  filled[queue] = true
  note_change(queue)
end

-- Keeps the time of the queue's next due job; a new earliest one wakes the scheduler and a worker, who sleep until it.
local function refresh_due(queue)
  local first = redis.call('ZRANGE', state_key(queue, 'delayed'), 0, 0, 'WITHSCORES')
  if not first[2] then
    redis.call('ZREM', P .. 'due', queue)
    return
  end
  local due = math.floor(tonumber(first[2]) / DELAY_STEPS)
  local before = tonumber(redis.call('ZSCORE', P .. 'due', queue))
  if before == due then return end
  redis.call('ZADD', P .. 'due', due, queue)
  if not before or due < before then
    wake_once(P .. 'wake:scheduler')
    wake(queue)
  end
end

local due_changed = {}
local function note_due(queue) due_changed[queue] = true end

-- Looks again at every queue that changed. Returns those that have work that may start now.
local function refresh_changed()
  local with_work = {}
  write_sets()
  for queue in pairs(changed) do
    if refresh(queue) then with_work[#with_work + 1] = queue end
  end
  for queue in pairs(due_changed) do refresh_due(queue) end
  changed, due_changed = {}, {}
  return with_work
end

-- The last step of a script that moves jobs: wakes workers for what may start now.
local function settle_queues()
  for _, queue in ipairs(refresh_changed()) do wake(queue) end
end
