-- Leaves wait here until they are contiguous with the tree; ARGV[2] holds them, 32 bytes each.
-- What is read last counts: a leaf known with another value goes, with all after it. Returns its
-- index if its block was passed, so that those after it are read again.
check_lease()
if call('HEXISTS', 'cursor', 'undo') == 1 then refuse('UNDO', 'a roll-back is not finished') end
local tree = ARGS.tree
local size = tree_size(tree)

local function known_leaf(index)
  if index >= size then return call('HGET', 'leaves:' .. tree, string.format('%.0f', index)) end
  local slot = index % 256
  local name = string.format('nodes:%s:0:%.0f', tree, (index - slot) / 256)
  return call('GETRANGE', name, slot * 32, slot * 32 + 31)
end

-- The block that brought a leaf, as far as blocks are remembered.
local function block_of(index)
  local found = -1
  local rows = call('ZRANGE', 'leaf_blocks:' .. tree, 0, -1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    if tonumber(string.match(rows[i], '^%d+')) <= index then
      found = math.max(found, tonumber(rows[i + 1]))
    end
  end
  return found
end

local function leaf_at(i) return string.sub(ARGV[2], (i - 1) * 32 + 1, i * 32) end

local replaced = false
for i, text in ipairs(ARGS.indexes) do
  local index = tonumber(text)
  local known = known_leaf(index)
  if known and known ~= leaf_at(i) then
    local cursor = tonumber(call('HGET', 'cursor', 'block') or '-1')
    -- Above the cursor a dead owner stored it, from a block that was replaced since.
    if block_of(index) <= cursor then replaced = text end
    cut_tree(tree, index)
    size = tree_size(tree)
    break
  end
end

call('SADD', 'trees', tree)
for i, text in ipairs(ARGS.indexes) do
  if tonumber(text) >= size then call('HSET', 'leaves:' .. tree, text, leaf_at(i)) end
end
for _, row in ipairs(ARGS.blocks) do
  local block, first, digest = row[1], row[2], row[3]
  local lower = false
  for _, member in ipairs(call('ZRANGEBYSCORE', 'leaf_blocks:' .. tree, block, block)) do
    if tonumber(string.match(member, '^%d+')) <= tonumber(first) then
      lower = true
    else
      call('ZREM', 'leaf_blocks:' .. tree, member)
    end
  end
  if not lower then call('ZADD', 'leaf_blocks:' .. tree, block, first .. ' ' .. digest) end
end
return replaced
