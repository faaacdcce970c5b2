check_lease()
for _, row in ipairs(ARGS.starts) do call('HSET', 'followed', row[1], row[2]) end
return 1
