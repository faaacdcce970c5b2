-- The intent and its messages, all or nothing. ARGV[2..] are its signed attempts.
check_lease()
local name = 'intents:' .. ARGS.signer
local mark = ARGS.signer .. ':' .. ARGS.nonce
local stored = call('HGET', name, ARGS.nonce)
if stored then
  if stored == ARGS.intent and call('HGET', name, ARGS.nonce .. ':0') == (ARGV[2] or false) then
    return {}
  end
  refuse('ILLEGAL', 'nonce ' .. ARGS.nonce .. ' of ' .. ARGS.signer .. ' is taken by another intent')
end

local recs, refused, bad = {}, {}, {}
for _, id in ipairs(ARGS.ids) do
  local rec = try_load(id, bad)
  local free = rec and rec.message and not rec.intent
  if free and (rec.status == 'ready' or rec.status == 'waiting') then
    recs[#recs + 1] = rec
  else
    refused[#refused + 1] = id
  end
end
if #refused > 0 then return refused end

spend(ARGS.spend)
call('SADD', 'signers', ARGS.signer)
call('HSET', name, ARGS.nonce, ARGS.intent)
for i = 2, #ARGV do call('HSET', name, ARGS.nonce .. ':' .. (i - 2), ARGV[i]) end
for _, hash in ipairs(ARGS.hashes) do call('ZADD', 'sent', NOW, hash) end
local old = string.format('%.3f', tonumber(NOW) - ARGS.retention_ms / 1000)
call('ZREMRANGEBYSCORE', 'sent', '-inf', old)
for _, rec in ipairs(recs) do
  if rec.status == 'waiting' then move(rec, 'ready', 'proved', '') end
  move(rec, 'submitted', 'broadcast', 'nonce ' .. ARGS.nonce)
  put(rec, 'intent', mark)
  put(rec, 'refused_since', false)
  note_tx(rec, ARGS.hashes[#ARGS.hashes])
  save(rec)
end
return {}
