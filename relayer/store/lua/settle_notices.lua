-- What became of a webhook's notices: told, to be told again, or given up. The newest dead letters
-- are kept; how many had to make room is counted.
check_lease()
local function forget_notice(number)
  call('HDEL', 'notices:' .. ARGS.webhook, number)
  call('ZREM', 'notices_due:' .. ARGS.webhook, number)
end
for _, number in ipairs(ARGS.told) do forget_notice(number) end
for _, item in ipairs(ARGS.again) do
  if call('HEXISTS', 'notices:' .. ARGS.webhook, item[1]) == 1 then
    call('HSET', 'notices:' .. ARGS.webhook, item[1], item[2])
    call('ZADD', 'notices_due:' .. ARGS.webhook, item[3], item[1])
  end
end
for _, item in ipairs(ARGS.dead) do
  forget_notice(item[1])
  call('LPUSH', 'notices_dead:' .. ARGS.webhook, item[2])
end
local over = call('LLEN', 'notices_dead:' .. ARGS.webhook) - ARGS.kept
if over > 0 then
  call('LTRIM', 'notices_dead:' .. ARGS.webhook, 0, ARGS.kept - 1)
  call('HINCRBY', 'webhook:' .. ARGS.webhook, 'lost', string.format('%.0f', over))
end
return 1
