-- A lease for whoever comes when nobody holds it.
if call('EXISTS', 'lease:' .. ARGS.role) == 1 then return false end
local token = clock_above(tonumber(call('GET', 'fence:' .. ARGS.role) or '0'))
call('SET', 'fence:' .. ARGS.role, token)
call('SET', 'lease:' .. ARGS.role, token .. ' ' .. ARGS.owner, 'PX', ARGS.lease_ms)
if ARGS.role == 'follower' then
  -- What a dead owner stored above the cursor is believed only when it is seen again.
  local block = call('HGET', 'cursor', 'block')
  call('ZRANGESTORE', 'unconfirmed', BASE .. 'facts', block and '(' .. block or '-inf', '+inf', 'BYSCORE')
end
return token
