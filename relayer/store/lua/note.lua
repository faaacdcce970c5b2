-- What a lane found out about messages. A message that moved on meanwhile is left alone.
check_lease()
local refused, bad = {}, {}
for _, item in ipairs(ARGS.items) do
  local rec = try_load(item.id, bad)
  if rec and note(rec, ARGS.step, item) then
    save(rec)
  else
    refused[#refused + 1] = item.id
  end
end
return refused
