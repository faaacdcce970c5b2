-- The origin starts over: what is kept for messages not seen yet and rests on its blocks. One page
-- of the server's keys, since nothing lists them; answers where to go on, '0' at the end.
check_origin()
local name = BASE .. 'message:'
local answer = redis.call('SCAN', ARGS.cursor, 'MATCH', name .. '*', 'COUNT', ARGS.limit)
for _, key in ipairs(answer[2]) do
  local rec = try_load(string.sub(key, #name + 1), {})
  if rec and not rec.message then
    if ARGS.chain == ARGS.origin then put(rec, 'delivery', false) end
    if rec.payments then forget_payments(rec, ARGS.origin) end
    save(rec)
  end
end
return answer[1]
