-- In the followed chain's slot, before any record is written: how to undo each fact; and roots.
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
return raised
