-- A webhook's notices that are due, earliest first.
local out = {}
local due = call('ZRANGEBYSCORE', 'notices_due:' .. ARGS.webhook, '-inf', NOW, 'LIMIT', 0, ARGS.limit)
for _, number in ipairs(due) do
  local text = call('HGET', 'notices:' .. ARGS.webhook, number)
  if text then
    out[#out + 1] = {number, text}
  else
    call('ZREM', 'notices_due:' .. ARGS.webhook, number)
  end
end
return out
