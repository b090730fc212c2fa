-- Counters and histogram buckets, gathered during the script and written once by `write_metrics`.
local WAIT_BUCKETS = {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000}
local RUN_BUCKETS = {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 900000, 3600000}
local RATED_MINUTES = 65 -- how long what a queue did in a minute is known
local gathered, rates = {}, {}

local function metric_of(what, queue, name) return what .. '|' .. queue .. '|' .. name end

local function gather(metric, by) gathered[metric] = (gathered[metric] or 0) + (by or 1) end

local function count(what, queue, name, outcome)
  local metric = metric_of(what, queue, name)
  if outcome then metric = metric .. '|' .. outcome end
  gather(metric)
end

local function observe(what, buckets, queue, name, ms)
  ms = math.max(0, ms)
  local bucket = #buckets + 1
  for place, bound in ipairs(buckets) do
    if ms <= bound then bucket = place break end
  end
  count(what, queue, name, bucket)
  gather(metric_of(what .. '_sum', queue, name), ms)
end

-- Per-minute counts of a queue, kept for an hour: the rates people look at.
local function rate(queue, what, by)
  local minute = rates[queue]
  if not minute then minute = {} rates[queue] = minute end
  minute[what] = (minute[what] or 0) + (by or 1)
end

local function write_metrics()
  for field, by in pairs(gathered) do redis.call('HINCRBY', P .. 'metrics', field, by) end
  for queue, minute in pairs(rates) do
    local key = P .. 'rates:' .. queue .. ':' .. math.floor(now / 60000)
    for what, by in pairs(minute) do
      if redis.call('HINCRBY', key, what, by) == by then redis.call('EXPIRE', key, RATED_MINUTES * 60) end
    end
  end
end
