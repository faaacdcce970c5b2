check_lease()
local now = call('HMGET', 'cursor', 'block', 'undo')
if now[2] then refuse('UNDO', 'a roll-back is not finished') end
if now[1] and tonumber(now[1]) > tonumber(ARGS.block) then
  refuse('ILLEGAL', 'the cursor of chain ' .. ARGS.chain .. ' is at ' .. now[1] .. ', not below ' .. ARGS.block)
end
if call('ZCOUNT', 'unconfirmed', '-inf', ARGS.block) > 0 then
  refuse('VANISHED', 'facts of replaced blocks')
end
call('HSET', 'cursor', 'block', ARGS.block, 'hash', ARGS.hash)
call('ZREMRANGEBYSCORE', 'scanned', ARGS.block, ARGS.block)
call('ZADD', 'scanned', ARGS.block, ARGS.block .. ' ' .. ARGS.hash)
local extra = call('ZCARD', 'scanned') - ARGS.remembered
if extra <= 0 then return 1 end
call('ZREMRANGEBYRANK', 'scanned', 0, extra - 1)
-- Below the oldest block whose hash we remember nothing can be undone.
local floor = call('ZRANGE', 'scanned', 0, 0, 'WITHSCORES')[2]
call('HSET', 'cursor', 'floor', floor)
call('ZREMRANGEBYSCORE', 'facts', '-inf', floor)
for _, tree in ipairs(call('SMEMBERS', 'trees')) do
  call('ZREMRANGEBYSCORE', 'leaf_blocks:' .. tree, '-inf', floor)
end
return 1
