local found = call('HMGET', 'cursor', 'block', 'hash')
if not found[1] then return false end
if not string.match(found[1], '^-?%d+$') or not found[2] then
  refuse('UNREADABLE', 'the key ' .. BASE .. 'cursor does not hold a block and its hash')
end
return found
