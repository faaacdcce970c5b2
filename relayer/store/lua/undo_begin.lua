-- Moves the cursor down and marks that facts above it are to be undone.
check_lease()
local now = call('HMGET', 'cursor', 'block', 'floor', 'undo')
if not ARGS.over and now[2] and tonumber(ARGS.block) < tonumber(now[2]) then
  refuse('TOODEEP', 'chain ' .. ARGS.chain .. ': facts at or below block ' .. now[2] .. ' can not be undone any more')
end
if now[1] and not now[3] and tonumber(ARGS.block) > tonumber(now[1]) then
  refuse('ILLEGAL', 'the cursor of chain ' .. ARGS.chain .. ' is at ' .. now[1] .. ', below ' .. ARGS.block)
end
local undo = ARGS.block
if now[3] and tonumber(now[3]) < tonumber(undo) then undo = now[3] end
call('HSET', 'cursor', 'block', ARGS.block, 'hash', ARGS.hash, 'undo', undo)
if ARGS.over then
  call('HSET', 'cursor', 'over', '1')
  call('HDEL', 'cursor', 'floor')
end
return undo
