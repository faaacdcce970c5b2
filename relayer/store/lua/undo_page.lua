check_lease()
local undo = call('HGET', 'cursor', 'undo')
if not undo then return {} end
return call('ZREVRANGEBYSCORE', 'facts', '+inf', '(' .. undo, 'LIMIT', 0, ARGS.limit)
