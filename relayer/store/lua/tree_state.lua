local found = call('HMGET', 'tree:' .. ARGS.tree, 'size', 'epoch')
if found[1] and not tonumber(found[1]) then
  refuse('UNREADABLE', 'the key ' .. BASE .. 'tree:' .. ARGS.tree .. ' does not hold a size')
end
return {found[1] or '0', found[2] or '0'}
