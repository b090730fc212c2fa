#!lua
-- Creates an endpoint of webhooks, or changes one.
--@include context events deliveries lanes queues removal webhooks
-- KEYS[1] key prefix
-- ARGV[1] settings   [2] id   [3] '1' to create it   [4] fields and their values, MessagePack array
--     [5] '' to leave it as enabled as it is, '1' to enable it, or the reason it is disabled for   [6] the most endpoints there may be
-- Returns 1, 0 if there is no such endpoint, or -1 if there are too many
-- O(endpoints)
local id, new, switch = ARGV[2], ARGV[3] == '1', ARGV[5]
if new then
  if redis.call('ZCARD', P .. 'webhooks') >= tonumber(ARGV[6]) then return -1 end
  redis.call('ZADD', P .. 'webhooks', micros, id)
  redis.call('HSET', webhook_key(id), 'created', now)
elseif redis.call('HEXISTS', webhook_key(id), 'url') == 0 then
  return 0
end
local fields, moved = cmsgpack.unpack(ARGV[4]), false
if #fields > 0 then redis.call('HSET', webhook_key(id), unpack(fields)) end
for at = 1, #fields, 2 do moved = moved or fields[at] == 'url' end
if switch == '1' then
  redis.call('HDEL', webhook_key(id), 'disabled', 'disabledAt')
elseif switch ~= '' then
  disable_webhook(id, switch)
end
if moved or switch == '1' then -- what is there has not failed yet
  forgive_webhook(id)
  clear_lane(id)
  note_change(INTERNAL)
end
settle_queues()
refresh_wanted()
return 1
