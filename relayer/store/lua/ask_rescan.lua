if call('HEXISTS', 'rescans', ARGS.name) == 1 then return 1 end
if call('HLEN', 'rescans') >= ARGS.most then return 0 end
call('HSET', 'rescans', ARGS.name, ARGS.at)
return 1
