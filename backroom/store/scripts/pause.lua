#!lua flags=allow-oom
-- Pauses or resumes a queue. Running jobs go on; delayed ones still become waiting; new ones are taken.
--@include context events metrics deliveries lanes queues
-- KEYS[1] key prefix   ARGV[1] settings   [2] queue   [3] '1' pause, '0' resume
-- Returns 1 if that changed anything, else 0
-- O(log n)
local queue, want = ARGV[2], ARGV[3]
know_queue(queue)
local was = redis.call('HGET', queue_key(queue), 'paused') or '0'
if was == want then return 0 end
redis.call('HSET', queue_key(queue), 'paused', want)
event(want == '1' and 'paused' or 'resumed', '', queue, '')
note_change(queue)
settle_queues()
return 1
