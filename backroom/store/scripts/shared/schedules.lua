-- Schedules: `schedules` holds the next slot (ms) of those that fire, `schedules:all` all of them by creation.
local KEPT_FIRES = 10 -- entries in the history of a schedule
local function schedule_key(key) return P .. 'schedule:' .. key end

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

local function remember_fire(key, slot, job_id)
  local fires = schedule_key(key) .. ':fires'
  redis.call('LPUSH', fires, cjson.encode({slot = slot, at = now, jobId = job_id}))
  redis.call('LTRIM', fires, 0, KEPT_FIRES - 1)
end
