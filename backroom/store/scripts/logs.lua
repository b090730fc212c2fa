#!lua flags=no-writes,allow-oom
-- Reads lines of a job's log.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings   [2] job id   [3] number of the last line already known, or 0   [4] the most lines
-- Returns {number of the first line returned, number of the newest line, [line, JSON...]}, or {} if there is no such job
-- O(lines kept)
local job = redis.call('HMGET', job_key(ARGV[2]), 'state', 'logged')
if not job[1] then return {} end
local lines, newest = job_key(ARGV[2]) .. ':logs', tonumber(job[2]) or 0
local trimmed = newest - redis.call('LLEN', lines)
local start = math.max(0, tonumber(ARGV[3]) - trimmed)
return {trimmed + start + 1, newest, redis.call('LRANGE', lines, start, start + tonumber(ARGV[4]) - 1)}
