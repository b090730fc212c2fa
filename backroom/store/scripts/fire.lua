#!lua
-- Fires a schedule: makes a job for each slot that is due and sets the next slot, all at once, and only once.
--@include context events metrics deliveries lanes queues removal finish moves storing schedules firing
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] the revision that the caller read
--     [4] MessagePack array of {slot, id of its job}, oldest first, at most 100   [5] the slot after them, ms, or '' (none)
-- Returns how many jobs it made, or -1: someone else was first, or nothing is due yet
-- O(jobs * log n)
local name, slot_after = ARGV[2], ARGV[5]
local key = schedule_key(name)
local found = redis.call('HMGET', key, 'revision', 'next', 'paused', 'overlap', 'limit', 'count')
if found[1] ~= ARGV[3] or found[2] == '' or found[3] == '1' then return -1 end
if tonumber(found[2]) > now then return -1 end

local fires, limit, made = cmsgpack.unpack(ARGV[4]), tonumber(found[5]), tonumber(found[6])
local seen = fires[#fires] and fires[#fires].slot or found[2]
if found[4] == '0' and is_at_work(name) then fires = {} end
while limit and made + #fires > limit do table.remove(fires) end
if limit and made + #fires >= limit then slot_after = '' end
revise(name, 'next', slot_after, 'seen', seen, 'count', made + #fires)
set_next(name, slot_after)
if #fires > 0 then make_jobs(name, fires) end
return #fires
