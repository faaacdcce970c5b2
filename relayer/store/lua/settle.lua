-- What became of an intent, in one step: outcomes on its messages, what it cost, and its end.
-- Without the intent nothing happens: an earlier call, whose answer was lost, did it all.
check_lease()
local name = 'intents:' .. ARGS.signer
local mark = ARGS.signer .. ':' .. ARGS.nonce
local stored = call('HGET', name, ARGS.nonce)
if not stored then return false end
local calls = decoded(name, stored).calls

local function with_cost(heading, add)
  local sums = {}
  for part in string.gmatch(call('HGET', 'cost', heading) or '0 0 0', '%d+') do sums[#sums + 1] = part end
  if #sums ~= 3 then refuse('UNREADABLE', 'the key ' .. BASE .. 'cost does not hold three sums') end
  for i = 1, 3 do sums[i] = add_decimal(sums[i], add[i]) end
  return table.concat(sums, ' ')
end

-- All that can be refused is read before the first write: a script is not rolled back.
local costs = {}
for heading, add in pairs(ARGS.costs) do costs[heading] = with_cost(heading, add) end
local sums = {}
for _, kind in ipairs({'income', 'paid'}) do
  for heading, wei in pairs(ARGS[kind]) do
    local sum = call('HGET', kind, heading) or '0'
    if not string.match(sum, '^%d+$') then refuse('UNREADABLE', 'the key ' .. BASE .. kind .. ' does not hold a sum') end
    sums[#sums + 1] = {kind, heading, add_decimal(sum, wei)}
  end
end
local outcomes = {}
for _, item in ipairs(ARGS.items) do outcomes[item.id] = item end

local reopened, bad = {}, {}
for _, one in ipairs(calls) do
  local rec = try_load(one[1], bad)
  if rec and rec.intent == mark then
    put(rec, 'intent', false)
    local item = outcomes[rec.id]
    local is_noted = item and note(rec, item.step, item)
    if not is_noted and rec.status == 'submitted' and reopen(rec, ARGS.reason, ARGS.detail) then
      reopened[#reopened + 1] = rec.id
    end
    save(rec)
  end
end
for heading, sums in pairs(costs) do call('HSET', 'cost', heading, sums) end
for _, sum in ipairs(sums) do call('HSET', sum[1], sum[2], sum[3]) end
spend(ARGS.spend)
call('HDEL', name, ARGS.nonce)
local n = 0
while call('HDEL', name, ARGS.nonce .. ':' .. n) == 1 do n = n + 1 end
if call('EXISTS', name) == 0 then call('SREM', 'signers', ARGS.signer) end
return reopened
