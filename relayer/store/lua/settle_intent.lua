-- Forgets an intent; what nobody noted an outcome for waits again.
check_lease()
local name = 'intents:' .. ARGS.signer
local mark = ARGS.signer .. ':' .. ARGS.nonce
local stored = call('HGET', name, ARGS.nonce)
if not stored then return {} end
local reopened, bad = {}, {}
for _, one in ipairs(decoded(name, stored).calls) do
  local rec = try_load(one[1], bad)
  if rec and rec.intent == mark then
    put(rec, 'intent', false)
    if rec.status == 'submitted' and reopen(rec, ARGS.reason, ARGS.detail) then
      reopened[#reopened + 1] = rec.id
    end
    save(rec)
  end
end
call('HDEL', name, ARGS.nonce)
local n = 0
while call('HDEL', name, ARGS.nonce .. ':' .. n) == 1 do n = n + 1 end
return reopened
