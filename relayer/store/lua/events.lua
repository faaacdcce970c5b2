-- Events from a number on, oldest first, with the numbers of the newest and of the very first event,
-- and how many are kept.
local rows = call('XRANGE', 'events', ARGS.first .. '-0', '+', 'COUNT', ARGS.limit)
return {call('GET', 'event_count') or '0', call('GET', 'event_start') or '', call('XLEN', 'events'), rows}
