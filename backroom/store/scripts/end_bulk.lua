#!lua flags=allow-oom
-- Ends a bulk action before it has acted on all of its jobs; what it has done stays done.
--@include context bulk
-- KEYS[1] key prefix   ARGV[1] settings   [2] action id   [3] 'aborted' or 'failed'   [4] why, for people
-- Returns {'ok'}, {'missing'} or {'state', the state it has ended in before}
-- O(log n)
local id = ARGV[2]
local state = redis.call('HGET', bulk_key(id), 'state')
if not state then return {'missing'} end
if state ~= 'running' then return {'state', state} end
end_bulk(id, ARGV[3], 'detail', ARGV[4])
return {'ok'}
