-- The ground every script stands on: KEYS[1] is the key prefix, ARGV[1] the settings as MessagePack:
-- {events, keepCompletedAge ms, keepCompletedCount, keepFailedAge ms, keepFailedCount, keepBulk ms, logLines, lease ms,
-- webhookBytes, webhookKeepAge ms, webhookKeepCount}.
-- Time is Redis' own: `micros` orders what happens, `now` (ms) is what people read.
local P = KEYS[1] .. ':'
local settings = cmsgpack.unpack(ARGV[1])
local clock = redis.call('TIME')
local micros = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now = math.floor(micros / 1000)
local soon = math.ceil(micros / 1000) -- what comes so many ms from now counts from here: never early

local DELAY_STEPS = 2048       -- order among jobs due in the same ms: due time * 2048 + position
local PRIORITY_STEP = 4294967296 -- 2^32: waiting score = priority * 2^32 + 2^31 + sequence
local MIDDLE = 2147483648      -- 2^31: first-in-first-out counts up from here, lifo counts down
local FRONT = 9007199254740992 -- 2^53: lost jobs wait below zero, before all others, in their old order
local MAX_DEFERRALS = 100      -- tries in a row that may end in RetryAfter or RateLimited
local KEPT_TRIES = 50          -- entries in the attempt log

local function job_key(id) return P .. 'job:' .. id end
local function queue_key(queue) return P .. 'queue:' .. queue end
local function state_key(queue, state) return P .. 'queue:' .. queue .. ':' .. state end
