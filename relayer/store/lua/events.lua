-- Events from a number on, oldest first, with the number of the newest and how many are kept.
local rows = call('XRANGE', 'events', ARGS.first .. '-0', '+', 'COUNT', ARGS.limit)
return {call('GET', 'event_count') or '0', call('XLEN', 'events'), rows}
