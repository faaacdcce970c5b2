-- The records of an origin's lost batches are asked for again.
check_origin()
if (call('HGET', 'batches', ARGS.origin) or '0') ~= ARGS.known then return 0 end
call('HSET', 'batches', ARGS.origin, ARGS.newest)
return 1
