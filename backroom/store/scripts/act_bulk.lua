#!lua flags=allow-oom
-- Acts on the next jobs of a bulk action, takes them off its list and counts them, all in one step: none is acted on twice.
-- Allowed above the memory limit: it makes room, or moves what is there.
--@include context events metrics deliveries lanes queues removal finish moves actions acts bulk
-- KEYS[1] key prefix   ARGV[1] settings   [2] action id   [3] who does it   [4] jobs to act on, at most 100
-- Returns 'more', 'over' (by now) or 'held' (by somebody else)
-- O(jobs * log n)
local id, key = ARGV[2], bulk_key(ARGV[2])
local refused = hold(id, ARGV[3])
if refused then return refused end
local action = redis.call('HMGET', key, 'action', 'reset', 'only', 'query', 'begun', 'gathered')
local reset, begun, missing = action[2] == '1', tonumber(action[5]) / 1000, action[4] and 'skipped' or 'failed'

local ACTS = {
  retry = function(job) return retry(job, reset) end,
  cancel = function(job) return cancel(job, true) end,
  promote = function(job) return reschedule(job, now) end,
  remove = function(job) return job.state ~= 'active' and remove(job.queue, job.state, job.id) end,
}
local act = ACTS[action[1]]

local function set_of(words)
  if not words then return nil end
  local set = {}
  for _, word in ipairs(words) do set[word] = true end
  return set
end

-- Some keys may touch some queues and job types only; and a job must still be where it was when the action began.
local only = action[3] and cjson.decode(action[3]) or {}
local queues, names, states = set_of(only.queues), set_of(only.names), set_of(only.states)
local function outcome_of(job_id)
  local job = load(job_id)
  if not job or (queues and not queues[job.queue]) or (names and not names[job.name]) then return missing end
  if states then
    if not states[job.state] then return 'skipped' end
    if FINISHED[job.state] and (tonumber(redis.call('HGET', job_key(job_id), 'finished')) or 0) > begun then return 'skipped' end
  end
  return act(job) and 'succeeded' or 'skipped'
end

local counts = {succeeded = 0, skipped = 0, failed = 0}
for _, job_id in ipairs(redis.call('LPOP', bulk_jobs_key(id), ARGV[4]) or {}) do
  local outcome = outcome_of(job_id)
  counts[outcome] = counts[outcome] + 1
end
for outcome, number in pairs(counts) do
  if number > 0 then redis.call('HINCRBY', key, outcome, number) end
end
settle_queues()
write_metrics()
if not action[6] or redis.call('EXISTS', bulk_jobs_key(id)) == 1 then return 'more' end
end_bulk(id, 'completed')
return 'over'
