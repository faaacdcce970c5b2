-- Notices of a webhook and the place up to which events were looked at, in one step. False when
-- another has moved the place meanwhile.
check_lease()
local name = 'webhook:' .. ARGS.webhook
local at = call('HGET', name, 'at') or ''
if at ~= ARGS.after then return false end
for _, item in ipairs(ARGS.items) do
  call('HSET', 'notices:' .. ARGS.webhook, item[1], item[2])
  call('ZADD', 'notices_due:' .. ARGS.webhook, NOW, item[1])
end
call('HSET', name, 'at', ARGS.upto)
if ARGS.lost > 0 then call('HINCRBY', name, 'lost', string.format('%.0f', ARGS.lost)) end
return true
