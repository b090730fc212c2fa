#!lua flags=allow-oom
-- Settles a batch of outcomes and claims the next batch of jobs: the worker's one call in its hot path.
--@include context events metrics deliveries lanes queues removal finish moves logs staging outcomes claims
-- KEYS[1] key prefix
-- ARGV[1] settings, see context
--     [2] outcomes, MessagePack array, see outcomes; at most 1000
--     [3] room: how many jobs to claim, 0..1000
--     [4] worker id   [5] token of this call: with the one of the worker's last call it is answered again, and nothing is done
--     [6] lease, ms   [7] served queues, MessagePack: {named = [queue...]} or {without = {queue = true...}, kind}, see Served
-- Returns {[1 or 0 for each outcome], [[id, name, queue, data, attempts made, stalled, options, celery, traceparent, request id]...],
--     ms until the next due job or -1}
-- O((outcomes + room) log n); besides, promotes at most 200 due jobs and looks at no more than 64 queues.
local PROMOTED_AT_ONCE, QUEUES_AT_ONCE, PASSES = 200, 64, 8
local outcomes, room = cmsgpack.unpack(ARGV[2]), tonumber(ARGV[3])
local worker, token, lease, served = ARGV[4], ARGV[5], tonumber(ARGV[6]), cmsgpack.unpack(ARGV[7])

local function answer(accepted, claimed)
  local due = next_due()
  return {accepted, claimed, due and math.max(0, due - now) or -1}
end

local known_accepted, known_ids = recall_exchange(worker, token)
if known_ids then return answer(known_accepted, hand_out_again(known_ids, token, lease)) end

local accepted, claimed, taken = {}, {}, 0
for place, outcome in ipairs(outcomes) do accepted[place] = settle(outcome) end
if room > 0 then promote_due(PROMOTED_AT_ONCE) end
local with_work = refresh_changed()

-- Claims up to `most` waiting jobs; those past their ttl end instead. Returns how many it claimed.
local function claim_from(queue, most)
  local ids = queue == INTERNAL and take_turns(most) or redis.call('ZPOPMIN', state_key(queue, 'waiting'), most)
  local leases, started = {}, 0
  for at = 1, #ids, 2 do
    local id, score = ids[at], ids[at + 1]
    local key = job_key(id)
    local job = redis.call('HMGET', key, unpack(CLAIM_FIELDS))
    local name, expires, lane = job[1], tonumber(job[9]), lane_of[id]
    taken = taken + 1
    if expires then redis.call('ZREM', state_key(queue, 'ttl'), id) end
    if not (job[5] and job[5]:find('"webhook"', 1, true)) then hooks[id] = false end
    if lane and (not name or (expires and expires <= now)) then leave_lane(id, lane) end
    if expires and expires <= now then
      finish(id, queue, name, 'expired', job[10] or nil)
    elseif name then -- else its record was deleted by hand, which must not hold up the others
      redis.call('HSET', key, 'state', 'active', 'started', now, 'token', token, 'worker', worker, 'score', score)
      if lane then redis.call('HSET', key, 'lane', lane) end
      leases[#leases + 1] = now + lease
      leases[#leases + 1] = id
      started = started + 1
      event('active', id, queue, name, 'worker', worker)
      notify('active', id, queue)
      if job[12] then -- claimed before, and given back before it began: its start is in the figures
        redis.call('HDEL', key, 'counted')
      else
        count('started', queue, name)
        rate(queue, 'started')
        observe('wait', WAIT_BUCKETS, queue, name, now - (tonumber(job[8]) or now))
      end
      claimed[#claimed + 1] = claim_row(id, queue, job)
    end
  end
  if started > 0 then redis.call('ZADD', state_key(queue, 'active'), unpack(leases)) end
  local known = meta(queue)
  if known.max and started > 0 then
    if known.window_end <= now then
      known.window_begin, known.window_end, known.window_count = now, soon + known.duration, 0
    end
    known.window_count = known.window_count + started
    redis.call('HSET', queue_key(queue), 'windowBegin', known.window_begin, 'windowEnd', known.window_end,
      'windowCount', known.window_count)
  end
  return started
end

-- The queues to serve, least recently served first.
local function ready_queues()
  if not served.named then
    local found = redis.call('ZRANGE', P .. 'ready', 0, QUEUES_AT_ONCE - 1)
    local without, mine = served.without or {}, {}
    for _, queue in ipairs(found) do
      standing[queue] = true
      if not without[queue] then mine[#mine + 1] = queue end
    end
    return mine
  end
  if #served.named == 0 then return {} end
  local scores, mine = redis.call('ZMSCORE', P .. 'ready', unpack(served.named)), {}
  for place, queue in ipairs(served.named) do
    if scores[place] then mine[#mine + 1] = {queue, tonumber(scores[place])} end
  end
  table.sort(mine, function(a, b) if a[2] ~= b[2] then return a[2] < b[2] end return a[1] < b[1] end)
  for place, pair in ipairs(mine) do mine[place] = pair[1] end
  return mine
end

local REMEMBERED = 3600 -- seconds

-- The worker has nothing to do and will sleep: let it be woken for what it serves.
local function note_sleeper()
  for _, queue in ipairs(served.named or {}) do redis.call('ZADD', P .. 'named', now, queue) end
  if not served.kind then return end
  redis.call('ZADD', P .. 'named', now, PICKY)
  for kind, entry in pairs(picky_kinds()) do
    if entry[1] < now - REMEMBERED * 1000 then redis.call('HDEL', P .. 'picky', kind) end
  end
  redis.call('HSET', P .. 'picky', served.kind, cmsgpack.pack({now, served.without}))
  redis.call('EXPIRE', P .. 'picky', REMEMBERED)
end

if room > 0 then
  local queues, passes = ready_queues(), 0
  while room > 0 and #queues > 0 and passes < PASSES do
    passes = passes + 1
    local share, left = math.ceil(room / #queues), {}
    for _, queue in ipairs(queues) do
      if room <= 0 then break end
      local most = math.min(share, room, allowance(queue))
      note_change(queue)
      if most > 0 then
        room = room - claim_from(queue, most)
        local turn = redis.call('INCR', P .. 'served')
        if has_work(queue) then
          redis.call('ZADD', P .. 'ready', 'XX', turn, queue)
          left[#left + 1] = queue
        end
      end
    end
    queues = left
  end
end

-- Wake-ups chain from worker to worker: whoever took something and left something wakes the next.
for _, queue in ipairs(with_work) do note_change(queue) end
for _, queue in ipairs(refresh_changed()) do wake(queue) end
if taken > 0 and redis.call('EXISTS', P .. 'ready') == 1 then
  wake_once(P .. 'wake')
  if served.kind then wake_once(P .. 'wake:' .. PICKY .. served.kind) end
end
if room > 0 and #claimed == 0 then note_sleeper() end
write_metrics()
if #outcomes > 0 or #claimed > 0 then remember_exchange(worker, token, accepted, claimed) end
return answer(accepted, claimed)
