-- When the oldest message in work was seen; false without one.
local oldest = false
for _, route in ipairs(call('SMEMBERS', 'routes')) do
  for _, status in ipairs({'seen', 'waiting', 'ready', 'submitted'}) do
    local found = call('ZRANGE', 'status:' .. status .. ':' .. route, 0, 0, 'WITHSCORES')[2]
    if found and (not oldest or tonumber(found) < tonumber(oldest)) then oldest = found end
  end
end
return oldest
