-- Schedules: a hash each; `schedules` holds the next slot (ms) of those that fire, `schedules:all` all of them by creation.
local function schedule_key(key) return P .. 'schedule:' .. key end
local function fires_key(key) return schedule_key(key) .. ':fires' end
-- Jobs of one without overlap that had not ended when the list of its last fires became too short for them.
local function working_key(key) return P .. 'schedules:working:' .. key end

-- Whether a schedule is still as the caller read it. Every change gives it a revision that no schedule ever had before;
-- '' is that of none at all.
local function is_still(key, revision) return (redis.call('HGET', schedule_key(key), 'revision') or '') == revision end

local function revise(key, ...)
  redis.call('HSET', schedule_key(key), 'revision', redis.call('INCR', P .. 'schedules:revision'), ...)
end

-- Puts the schedule's next slot into the timetable ('' takes it out); an earlier one wakes the schedulers.
local function set_next(key, slot)
  if slot == '' then
    redis.call('ZREM', P .. 'schedules', key)
    return
  end
  local first = redis.call('ZRANGE', P .. 'schedules', 0, 0, 'WITHSCORES')
  redis.call('ZADD', P .. 'schedules', slot, key)
  if not first[2] or tonumber(slot) < tonumber(first[2]) then redis.call('ZADD', P .. 'wake:scheduler', 0, 1) end
end
