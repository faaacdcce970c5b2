-- In the followed chain's slot, before any record is written: how to undo each fact; roots; and
-- the number of each batch that goes to another slot.
check_lease()
if call('HEXISTS', 'cursor', 'undo') == 1 then refuse('UNDO', 'a roll-back is not finished') end
local raised = 0
for _, item in ipairs(ARGS.items) do
  call('ZADD', 'facts', item.block, item.member)
  call('ZREM', 'unconfirmed', item.member)
  if item.gate then
    call('SADD', 'roots', item.gate)
    raised = raised + call('ZADD', 'root:' .. item.gate, item.level, item.root)
    call('ZREMRANGEBYRANK', 'root:' .. item.gate, 0, -1 - ARGS.roots_kept)
  end
end
local numbers = {}
for _, one in ipairs(ARGS.batches) do
  local place, blocks = one[1], one[2]
  local name = 'batches:' .. place
  local last = call('ZRANGE', name, -1, -1)[1]
  local number, before = string.match(last or '0 ', '^(%d+) (.*)$')
  -- What failed is tried again under its number.
  if before ~= blocks then
    number = string.format('%.0f', (number or 0) + 1)
    call('ZADD', name, number, number .. ' ' .. blocks)
    call('ZREMRANGEBYRANK', name, 0, -1 - ARGS.batches_kept)
  end
  numbers[#numbers + 1] = number
end
return {raised, numbers}
