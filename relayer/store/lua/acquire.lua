-- A lease for whoever comes when nobody holds it. The token follows the server's clock, so that it
-- grows even when the counter was lost with the data.
if call('EXISTS', 'lease:' .. ARGS.role) == 1 then return false end
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = tonumber(call('GET', 'fence:' .. ARGS.role) or '0')
local token = string.format('%.0f', math.max(clock, last + 1))
call('SET', 'fence:' .. ARGS.role, token)
call('SET', 'lease:' .. ARGS.role, token .. ' ' .. ARGS.owner, 'PX', ARGS.lease_ms)
if ARGS.role == 'follower' then
  -- What a dead owner stored above the cursor is believed only when it is seen again.
  local block = call('HGET', 'cursor', 'block')
  call('ZRANGESTORE', 'unconfirmed', BASE .. 'facts', block and '(' .. block or '-inf', '+inf', 'BYSCORE')
end
return token
