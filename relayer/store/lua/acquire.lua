-- A lease for whoever comes when nobody holds it; with what the fence held when that was no token.
local lease, fence = 'lease:' .. ARGS.role, 'fence:' .. ARGS.role
local left_ms = call('PTTL', lease)
-- Every holder of ours gives it an end, anew with each renewal.
if left_ms == -1 then call('PEXPIRE', lease, ARGS.lease_ms) end
if left_ms ~= -2 then return false end

local stored = redis.pcall('GET', BASE .. fence)
if type(stored) == 'table' then stored = stored.err end
local last = token_of(stored)
local token = clock_above(math.max(last or 0, tonumber(ARGS.above)))
call('SET', fence, token)
call('SET', lease, token .. ' ' .. ARGS.owner, 'PX', ARGS.lease_ms)
if ARGS.role == 'follower' then
  -- What a dead owner stored above the cursor is believed only when it is seen again.
  local block = call('HGET', 'cursor', 'block')
  call('ZRANGESTORE', 'unconfirmed', BASE .. 'facts', block and '(' .. block or '-inf', '+inf', 'BYSCORE')
end
return {token, not last and stored}
