-- For each route of this lane: when its oldest message in work was seen, and recent delivery times.
local out = {}
for _, route in ipairs(call('SMEMBERS', 'routes')) do
  local oldest = ''
  for _, status in ipairs({'seen', 'waiting', 'ready', 'submitted', 'included'}) do
    local found = call('ZRANGE', 'status:' .. status .. ':' .. route, 0, 0, 'WITHSCORES')[2]
    if found and (oldest == '' or tonumber(found) < tonumber(oldest)) then oldest = found end
  end
  out[#out + 1] = {route, oldest, call('LRANGE', 'times:' .. route, 0, -1)}
end
return out
