#!lua
-- Fires a schedule: checks that the slot is due and nobody fired it, stores its jobs, and sets the next slot, all at once.
--@include context events metrics queues removal finish moves storing schedules
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] schedule key   [3] the slot that is due, ms   [4] revision of the definition the caller read
--     [5] jobs, MessagePack array of {slot, job as in submit}, at most 100   [6] next slot, ms, or '' (finished)
-- Returns 'fired', 'early', 'overlap' (left out: the last job has not ended) or 'stale' (someone else was first)
-- O(jobs * log n)
local key, slot = schedule_key(ARGV[2]), tonumber(ARGV[3])
if redis.call('ZSCORE', P .. 'schedules', ARGV[2]) ~= ARGV[3] then return 'stale' end
local found = redis.call('HMGET', key, 'revision', 'overlap', 'lastJob')
if found[1] ~= ARGV[4] then return 'stale' end
if slot > now then return 'early' end

redis.call('HSET', key, 'next', ARGV[6])
set_next(ARGV[2], ARGV[6])
local fires = cmsgpack.unpack(ARGV[5])
if found[2] == '0' and found[3] then
  local state = redis.call('HGET', job_key(found[3]), 'state')
  if state == 'waiting' or state == 'delayed' or state == 'active' or state == 'waiting-children' then return 'overlap' end
end
if found[2] == '0' then fires = {fires[#fires]} end -- several at once would overlap too
for _, fire in ipairs(fires) do
  know_queue(fire.job.queue)
  note_coming(fire.job.queue)
end
for place, fire in ipairs(fires) do
  store(fire.job, place - 1)
  remember_fire(ARGV[2], fire.slot, fire.job.id)
  redis.call('HSET', key, 'lastJob', fire.job.id)
end
redis.call('HINCRBY', key, 'count', #fires)
write_additions()
settle_queues()
write_metrics()
return 'fired'
