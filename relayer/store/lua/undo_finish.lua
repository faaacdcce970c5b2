-- Cuts the trees, forgets replaced blocks and takes the mark away.
check_lease()
local undo = call('HGET', 'cursor', 'undo')
if not undo then return {} end
local is_over = call('HEXISTS', 'cursor', 'over') == 1
local cut = {}
for _, tree in ipairs(call('SMEMBERS', 'trees')) do
  local first = is_over and 0 or nil
  for _, member in ipairs(call('ZRANGEBYSCORE', 'leaf_blocks:' .. tree, '(' .. undo, '+inf')) do
    local index = tonumber(string.match(member, '^%d+'))
    if not first or index < first then first = index end
  end
  if first then
    cut[#cut + 1] = {tree, string.format('%.0f', cut_tree(tree, first))}
  end
end
for _, gate in ipairs(is_over and call('SMEMBERS', 'roots') or {}) do
  call('DEL', 'root:' .. gate)
  call('SREM', 'roots', gate)
end
call('ZREMRANGEBYSCORE', 'scanned', '(' .. undo, '+inf')
call('ZREMRANGEBYSCORE', 'unconfirmed', '(' .. undo, '+inf')
call('HDEL', 'cursor', 'undo', 'over')
return cut
