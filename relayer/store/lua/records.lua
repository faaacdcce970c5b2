-- Whole records by id; an empty list for one that is not here, an error text for garbage.
local out, bad = {}, {}
for i, id in ipairs(ARGS.ids) do
  local rec = try_load(id, bad)
  if not rec then
    out[i] = bad[#bad]
  else
    out[i] = rec.message and call('HGETALL', 'message:' .. id) or {}
  end
end
return out
