local out = {}
for id in string.gmatch(call('GET', 'tx:' .. ARGS.tx) or '', '%S+') do
  local rec = try_load(id, {})
  if rec and rec.message and #out < ARGS.limit then out[#out + 1] = {id, call('HGETALL', 'message:' .. id)} end
end
return out
