check_lease()
local gate = 'gate:' .. ARGS.gate
local ids = call('ZRANGEBYSCORE', gate, '-inf', ARGS.level, 'LIMIT', 0, ARGS.limit)
local bad = {}
for _, id in ipairs(ids) do
  local rec = try_load(id, bad)
  call('ZREM', gate, id)
  if rec and rec.status == 'waiting' and rec.gate == ARGS.gate then
    leave_gate(rec)
    wake(rec, NOW)
    save(rec)
  end
end
if call('EXISTS', gate) == 0 then call('SREM', 'gates', ARGS.gate) end
return #ids
