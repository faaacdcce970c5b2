if call('GET', 'lease:' .. ARGS.role) ~= ARGS.lease then return 0 end
return call('DEL', 'lease:' .. ARGS.role)
