#!lua flags=allow-oom
-- Adds jobs to those that a bulk action has to act on. Each step of the search is taken once, whoever searches.
--@include context bulk
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] action id   [3] who does it   [4] cursor behind which the jobs were searched, '' at first   [5] cursor to go
--     on behind, or '': there are no more   [6] MessagePack array of job ids, at most 1000
-- Returns 'ok', 'over', 'held' (by somebody else) or 'moved' (the cursor is another one)
-- O(ids)
local id, key = ARGV[2], bulk_key(ARGV[2])
local refused = hold(id, ARGV[3])
if refused then return refused end
local found = redis.call('HMGET', key, 'cursor', 'gathered')
if found[2] or (found[1] or '') ~= ARGV[4] then return 'moved' end
local ids = cmsgpack.unpack(ARGV[6])
if #ids > 0 then
  redis.call('RPUSH', bulk_jobs_key(id), unpack(ids))
  redis.call('HINCRBY', key, 'total', #ids)
end
if ARGV[5] == '' then redis.call('HSET', key, 'gathered', 1) else redis.call('HSET', key, 'cursor', ARGV[5]) end
return 'ok'
