#!lua flags=allow-oom
-- Counts a request against a budget of so many in a window, which begins with the first request in it.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] name of the budget   [3] length of the window, ms
-- Returns {requests in this window, this one included, ms until it ends}
-- O(1)
local key = P .. 'spent:' .. ARGV[2]
local spent = redis.call('INCR', key)
if spent == 1 then redis.call('PEXPIRE', key, ARGV[3]) end
return {spent, redis.call('PTTL', key)}
