call('HDEL', 'rescans_failed', ARGS.name)
return call('HDEL', 'rescans', ARGS.name)
