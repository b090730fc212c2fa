-- Lanes: jobs of the internal queue wait in a line for each receiver of webhooks, and receivers take turns by the time that calls of
-- them take, so that one which hangs holds up nobody else. All are in `waiting`, as jobs of every queue: what has just come has its
-- own score there, what stands in a lane has `LINED`, and its own score in the lane (`lane:NAME`). `lanes` has the lanes that may
-- have a turn, by the time (ms) they have had; `lanes:spent` has that time where it is ahead of the others', which is `lanes:clock`.
-- `lane:NAME:out` are jobs that run; `lanes:slow` has lanes whose last call took long, by when it ended, and `lanes:resting` those
-- that have a pause because it came to nothing, by its end. What delivers nothing is in the lane `-`.
local LINED = 1152921504606846976 -- 2^60: above every other score
local OTHERS, TURN, SLOW_FOR, LINED_AT_ONCE, LOOKS = '-', 1, 3600000, 500, 100
local REST, LONGEST_REST = 3, 300000 -- a pause is so many times as long as the call, and no longer than this (ms)
local lane_of = {} -- jobs that this script has claimed -> their lane

local function lane_key(lane) return P .. 'lane:' .. lane end
local function lanes_clock() return tonumber(redis.call('GET', P .. 'lanes:clock')) or 0 end

-- The time that a lane has had; one that had less than those whose turn it is begins with them.
local function lane_time(lane) return math.max(lanes_clock(), tonumber(redis.call('ZSCORE', P .. 'lanes:spent', lane)) or 0) end

-- The lane may have a turn, unless it has a pause.
local function open_lane(lane)
  if redis.call('ZSCORE', P .. 'lanes:resting', lane) then return end
  redis.call('ZADD', P .. 'lanes', 'NX', lane_time(lane), lane)
end

-- Opens lanes whose pause is over. Returns when the next one is (ms), or nil.
local function end_rests()
  for _, lane in ipairs(redis.call('ZRANGE', P .. 'lanes:resting', '-inf', now, 'BYSCORE', 'LIMIT', 0, LOOKS)) do
    redis.call('ZREM', P .. 'lanes:resting', lane)
    if redis.call('EXISTS', lane_key(lane)) == 1 then open_lane(lane) end
  end
  return redis.call('ZRANGE', P .. 'lanes:resting', 0, 0, 'WITHSCORES')[2]
end

-- Whether the internal queue has jobs that wait for no more than a slot.
local function lanes_have_work()
  if redis.call('EXISTS', P .. 'lanes') == 1 then return true end
  return redis.call('ZCOUNT', state_key(INTERNAL, 'waiting'), '-inf', '(' .. LINED) > 0
end

local function charge_lane(lane, ms)
  local time = lane_time(lane) + ms
  redis.call('ZADD', P .. 'lanes:spent', time, lane)
  redis.call('ZADD', P .. 'lanes', 'XX', time, lane)
end

-- The most jobs of the internal queue at once: a share of all slots, so that other queues always find some; see beat.
local function internal_room()
  local slots = tonumber(redis.call('GET', P .. 'slots:all'))
  return slots and math.max(1, math.floor(slots * settings.webhookSlots / 100)) or math.huge
end

-- How many jobs of the lane may run at once. One lane never has all there is room for, if it is for more than one: it is not known
-- beforehand that a receiver will hang.
local function lane_room(lane)
  if lane == OTHERS then return math.huge end
  if redis.call('ZSCORE', P .. 'lanes:slow', lane) then return 1 end
  return math.min(settings.webhookAtOnce, math.max(1, internal_room() - 1))
end

-- Whether as many jobs of the lane run as may. One that was taken away while it ran did not say goodbye.
local function lane_is_full(lane)
  local out, room = lane_key(lane) .. ':out', lane_room(lane)
  local running = redis.call('SCARD', out)
  if running < room then return false end
  for _, id in ipairs(redis.call('SMEMBERS', out)) do
    if not lane_of[id] and not redis.call('ZSCORE', state_key(INTERNAL, 'active'), id) then
      running = running - redis.call('SREM', out, id)
    end
  end
  return running >= room
end

-- Puts jobs that have come since into their lanes.
local function line_up()
  local waiting = state_key(INTERNAL, 'waiting')
  local rows = redis.call('ZRANGE', waiting, '-inf', '(' .. LINED, 'BYSCORE', 'LIMIT', 0, LINED_AT_ONCE, 'WITHSCORES')
  for at = 1, #rows, 2 do
    local lane = redis.call('HGET', delivery_key(rows[at]), 'lane') or OTHERS
    redis.call('ZADD', lane_key(lane), rows[at + 1], rows[at])
    redis.call('ZADD', waiting, 'XX', LINED, rows[at])
    open_lane(lane)
  end
end

-- Takes up to `most` jobs out of their lanes, one of each in turn. Returns ids and scores, as ZPOPMIN does.
local function take_turns(most)
  line_up()
  local waiting, found, looks = state_key(INTERNAL, 'waiting'), {}, most + LOOKS
  while #found < 2 * most and looks > 0 do
    looks = looks - 1
    local next_one = redis.call('ZRANGE', P .. 'lanes', 0, 0, 'WITHSCORES')
    local lane = next_one[1]
    if not lane then break end
    local row = lane_is_full(lane) and {} or redis.call('ZPOPMIN', lane_key(lane))
    if not row[1] then -- nobody waits in it, or as many run as may
      redis.call('ZREM', P .. 'lanes', lane)
    else
      if tonumber(next_one[2]) > lanes_clock() then redis.call('SET', P .. 'lanes:clock', next_one[2]) end
      charge_lane(lane, TURN)
      if redis.call('ZREM', waiting, row[1]) == 1 then -- else it was taken away meanwhile
        redis.call('SADD', lane_key(lane) .. ':out', row[1])
        lane_of[row[1]] = lane
        found[#found + 1] = row[1]
        found[#found + 1] = row[2]
      end
    end
  end
  redis.call('ZREMRANGEBYSCORE', P .. 'lanes:spent', '-inf', lanes_clock())
  return found
end

-- A job that was taken out of a lane runs no more, after so long (ms; nil: it was not begun); `in_vain`: it was no success.
local function leave_lane(id, lane, ms, in_vain)
  redis.call('SREM', lane_key(lane) .. ':out', id)
  local others = redis.call('EXISTS', lane_key(lane)) == 1
  if ms then charge_lane(lane, ms) end
  if ms and ms > settings.webhookSlow then
    redis.call('ZADD', P .. 'lanes:slow', now, lane)
    redis.call('ZREMRANGEBYSCORE', P .. 'lanes:slow', '-inf', now - SLOW_FOR)
    if in_vain and others then
      redis.call('ZADD', P .. 'lanes:resting', now + math.min(REST * ms, LONGEST_REST), lane)
      redis.call('ZREM', P .. 'lanes', lane)
    end
  elseif ms then
    redis.call('ZREM', P .. 'lanes:slow', lane)
    redis.call('ZREM', P .. 'lanes:resting', lane)
  end
  if others then open_lane(lane) end
end

-- Somebody says that the receiver works: what it did before is forgotten.
local function clear_lane(lane)
  for _, set in ipairs({'lanes:slow', 'lanes:spent', 'lanes:resting', 'lanes'}) do redis.call('ZREM', P .. set, lane) end
  if redis.call('EXISTS', lane_key(lane)) == 1 then open_lane(lane) end
end
