check_lease()
if call('HEXISTS', 'rescans', ARGS.name) == 1 then call('HSET', 'rescans_failed', ARGS.name, ARGS.why) end
return 1
