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

-- The first and the last block of a batch; nil for none.
local function span_of(blocks)
  local first, final = string.match(blocks or '', '^(%d+) (%d+)$')
  return tonumber(first), tonumber(final)
end

local numbers = {}
for _, one in ipairs(ARGS.batches) do
  local name = 'batches:' .. one[1]
  local first, final = span_of(one[2])
  local newest = call('ZRANGE', name, -1, -1)[1]
  local number, blocks = string.match(newest or '', '^(%d+) (.*)$')
  local from, to = span_of(blocks)
  -- What failed or was cut off is tried again under its number, perhaps in a longer or a shorter
  -- range: a new number would make the one before look lost.
  if from and first <= to and from <= final then
    call('ZREM', name, newest)
    first, final = math.min(first, from), math.max(final, to)
  else
    number = string.format('%.0f', (number or 0) + 1)
  end
  call('ZADD', name, number, string.format('%s %.0f %.0f', number, first, final))
  call('ZREMRANGEBYRANK', name, 0, -1 - ARGS.batches_kept)
  numbers[#numbers + 1] = number
end
return {raised, numbers}
