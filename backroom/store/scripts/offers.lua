#!lua flags=no-writes,allow-oom
-- Reads the job types on offer.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings
-- Returns [[JSON of the type, how many workers that are there offer it]...]
-- O(types + workers * their types)
local names = redis.call('ZRANGE', P .. 'types:seen', '(' .. now, '+inf', 'BYSCORE')
if #names == 0 then return {} end
local workers_of = {}
for _, worker in ipairs(redis.call('ZRANGE', P .. 'workers', '(' .. now, '+inf', 'BYSCORE')) do
  local offer = redis.call('GET', P .. 'types:of:' .. worker)
  for _, name in ipairs(offer and cmsgpack.unpack(offer) or {}) do workers_of[name] = (workers_of[name] or 0) + 1 end
end
local found = {}
for place, name in ipairs(names) do found[place] = {redis.call('HGET', P .. 'types', name), workers_of[name] or 0} end
return found
