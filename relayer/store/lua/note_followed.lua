check_lease()
for _, row in ipairs(ARGS.starts) do call('HSET', 'followed', row[1], row[2]) end
for _, name in ipairs(ARGS.gone) do call('HDEL', 'followed', name) end
return 1
