-- A worker's newest exchange is kept, so that its answer can be had again when it was lost on its way: the token, a newline,
-- MessagePack {accepted, ids of the claimed jobs}.
local CLAIM_FIELDS = {'name', 'data', 'made', 'stalled', 'options', 'celery', 'trace', 'ready', 'expires', 'keepF', 'request',
  'counted'}

local function claim_key(worker) return P .. 'claim:' .. worker end

local function remember_exchange(worker, token, accepted, claimed)
  local ids = {}
  for place, job in ipairs(claimed) do ids[place] = job[1] end
  redis.call('SET', claim_key(worker), token .. '\n' .. cmsgpack.pack({accepted, ids}), 'EX', 3600)
end

-- What the worker was answered under this token: accepted, ids; nil if it was not.
local function recall_exchange(worker, token)
  local head = token .. '\n'
  if redis.call('GETRANGE', claim_key(worker), 0, #head - 1) ~= head then return nil end
  local known = cmsgpack.unpack(redis.call('GETRANGE', claim_key(worker), #head, -1))
  return known[1], known[2]
end

-- A claimed job as workers are told of it; `job` are the values of CLAIM_FIELDS.
local function claim_row(id, queue, job)
  return {id, job[1], queue, job[2], job[3] or '0', job[4] or '0', job[5] or '', job[6] or '', job[7] or '', job[11] or ''}
end

-- The jobs among `ids` that the token still holds, their leases begun anew.
local function hand_out_again(ids, token, lease)
  local rows = {}
  for _, id in ipairs(ids) do
    local holder = redis.call('HMGET', job_key(id), 'token', 'queue')
    if holder[1] == token then
      redis.call('ZADD', state_key(holder[2], 'active'), 'XX', now + lease, id)
      rows[#rows + 1] = claim_row(id, holder[2], redis.call('HMGET', job_key(id), unpack(CLAIM_FIELDS)))
    end
  end
  return rows
end
