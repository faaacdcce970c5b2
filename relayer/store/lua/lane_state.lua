-- When the oldest message in work was seen, and when the next one is due.
local oldest, next_due = '', ''
local function lowest(name, best)
  local found = call('ZRANGE', name, 0, 0, 'WITHSCORES')[2]
  if found and (best == '' or tonumber(found) < tonumber(best)) then return found end
  return best
end
for _, route in ipairs(call('SMEMBERS', 'routes')) do
  for _, status in ipairs({'seen', 'waiting', 'ready', 'submitted'}) do
    oldest = lowest('status:' .. status .. ':' .. route, oldest)
  end
  next_due = lowest('due:' .. route, next_due)
end
return {oldest, next_due}
