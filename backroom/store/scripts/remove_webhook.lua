#!lua flags=allow-oom
-- Removes an endpoint of webhooks with its deliveries, a step at a time. The first step ends all notices to it.
--@include context events deliveries lanes queues removal webhooks
-- KEYS[1] key prefix   ARGV[1] settings   [2] id   [3] deliveries to forget at most, 1..1000
-- Returns {1 if there was one, else 0; 1 if there are more deliveries to forget, else 0}
-- O(endpoints + deliveries * log n)
local id, limit = ARGV[2], tonumber(ARGV[3])
local there = redis.call('ZREM', P .. 'webhooks', id)
if there == 0 and redis.call('EXISTS', webhook_key(id)) == 1 then return {0, 0} end -- the jobs' own, which is no endpoint
redis.call('DEL', webhook_key(id))
refresh_wanted()
local ids = redis.call('ZRANGE', webhook_key(id) .. ':deliveries', 0, limit - 1)
for _, each in ipairs(ids) do forget_delivery(each, id) end
return {there, #ids == limit and 1 or 0}
