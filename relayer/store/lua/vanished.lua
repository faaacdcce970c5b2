check_lease()
return call('ZRANGEBYSCORE', 'unconfirmed', '-inf', ARGS.block, 'LIMIT', 0, ARGS.limit)
