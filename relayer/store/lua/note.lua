-- What a lane found out about messages. A message that moved on meanwhile is left alone.
check_lease()
local refused, bad = {}, {}
for _, item in ipairs(ARGS.items) do
  local rec = try_load(item.id, bad)
  if rec and note(rec, ARGS.step, item) then
    save(rec)
  else
    refused[#refused + 1] = item.id
    -- Whose inclusion is no question any more must not be asked about for ever.
    if ARGS.step == 'reopen' and not (rec and rec.status == 'included') then call('ZREM', 'included', item.id) end
  end
end
return refused
