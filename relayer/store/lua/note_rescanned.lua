check_lease()
call('HDEL', 'rescans_failed', ARGS.name)
if ARGS.at == '' then return call('HDEL', 'rescans', ARGS.name) end
if call('HEXISTS', 'rescans', ARGS.name) == 1 then call('HSET', 'rescans', ARGS.name, ARGS.at) end
return 1
