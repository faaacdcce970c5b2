check_lease()
local name = 'intents:' .. ARGS.signer
local stored = call('HGET', name, ARGS.nonce)
if not stored then
  refuse('UNKNOWN', 'no intent has the nonce ' .. ARGS.nonce .. ' of ' .. ARGS.signer)
end
local ATTEMPTS = 64
local n = 0
while call('HEXISTS', name, ARGS.nonce .. ':' .. n) == 1 do
  if call('HGET', name, ARGS.nonce .. ':' .. n) == ARGV[2] then return n end
  n = n + 1
end
if n >= ATTEMPTS then
  refuse('ILLEGAL', 'nonce ' .. ARGS.nonce .. ' of ' .. ARGS.signer .. ' was replaced ' .. n .. ' times')
end
call('HSET', name, ARGS.nonce .. ':' .. n, ARGV[2])
call('ZADD', 'sent', NOW, ARGS.hash)
local bad = {}
for _, one in ipairs(decoded(name, stored).calls) do
  local rec = try_load(one[1], bad)
  if rec and rec.status == 'submitted' and rec.intent == ARGS.signer .. ':' .. ARGS.nonce then
    if rec.tx and rec.tx ~= ARGS.hash then remove_from_tx(rec.tx, rec.id) end
    note_tx(rec, ARGS.hash)
    save(rec)
  end
end
return n
