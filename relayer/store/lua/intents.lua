return call('HGETALL', 'intents:' .. ARGS.signer)
