check_lease()
for _, member in ipairs(ARGS.items) do
  call('ZREM', 'facts', member)
  call('ZREM', 'unconfirmed', member)
end
return 1
