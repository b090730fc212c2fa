-- The job's log: a capped list; `logged` counts every line ever written, so that line numbers survive trimming.
local function append_logs(id, lines)
  local key = job_key(id)
  local total = redis.call('HINCRBY', key, 'logged', #lines)
  for _, line in ipairs(lines) do redis.call('RPUSH', key .. ':logs', line) end
  if total > settings.logLines then redis.call('LTRIM', key .. ':logs', -settings.logLines, -1) end
end
