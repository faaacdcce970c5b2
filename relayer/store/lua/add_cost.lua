check_lease()
local sums = {}
for part in string.gmatch(call('HGET', 'cost', ARGS.route) or '0 0 0', '%d+') do sums[#sums + 1] = part end
if #sums ~= 3 then refuse('UNREADABLE', 'the key ' .. BASE .. 'cost does not hold three sums') end
for i = 1, 3 do sums[i] = add_decimal(sums[i], ARGS.add[i]) end
call('HSET', 'cost', ARGS.route, table.concat(sums, ' '))
return 1
