-- Cuts the trees, forgets replaced blocks and takes the mark away.
check_lease()
local undo = call('HGET', 'cursor', 'undo')
if not undo then return {} end
local cut = {}
for _, tree in ipairs(call('SMEMBERS', 'trees')) do
  local first
  for _, member in ipairs(call('ZRANGEBYSCORE', 'leaf_blocks:' .. tree, '(' .. undo, '+inf')) do
    local index = tonumber(string.match(member, '^%d+'))
    if not first or index < first then first = index end
  end
  if first then
    cut[#cut + 1] = {tree, string.format('%.0f', cut_tree(tree, first))}
  end
end
call('ZREMRANGEBYSCORE', 'scanned', '(' .. undo, '+inf')
call('ZREMRANGEBYSCORE', 'unconfirmed', '(' .. undo, '+inf')
call('HDEL', 'cursor', 'undo')
return cut
