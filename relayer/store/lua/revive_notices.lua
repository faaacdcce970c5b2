-- Dead letters of a webhook are told again, from the oldest on; answers how many.
local moved = 0
while moved < ARGS.limit do
  local text = call('RPOP', 'notices_dead:' .. ARGS.webhook)
  if not text then break end
  local notice = decoded('notices_dead:' .. ARGS.webhook, text)
  notice.attempts = 0
  call('HSET', 'notices:' .. ARGS.webhook, notice.number, cjson.encode(notice))
  call('ZADD', 'notices_due:' .. ARGS.webhook, NOW, notice.number)
  moved = moved + 1
end
return moved
