-- One capped stream of everything that happens; `...` are further field, value pairs. The time of an event is in its id.
local function event(kind, id, queue, name, ...)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', settings.events, '*',
    'type', kind, 'job', id, 'queue', queue, 'name', name, ...)
end
