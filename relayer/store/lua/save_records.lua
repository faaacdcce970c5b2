-- Facts about messages, in the slot of the chain they are delivered to. Repeating changes nothing.
check_origin()
local STUB_MS = string.format('%.0f', ARGS.retention_ms)
local PAYMENTS = 32
local GAS, AMOUNT, CHAIN = 2, 3, 4
local GARBAGE_KEPT, GARBAGE_BYTES = 64, 65536
local created, delivered, bad, payments, contradicted = {}, {}, {}, 0, {}
local BY_OPERATOR = {held_by_operator = true, dropped_by_operator = true}

local function confirm_delivery(rec)
  local tx = tx_of(rec.delivery)
  local by_us = call('ZSCORE', 'sent', tx) and true or false
  if deliver(rec, by_us, tx, '') then
    delivered[#delivered + 1] = {rec.id, rec.route, by_us and '1' or '0', rec.seen_at}
  end
end

local function save_stub(rec)
  save(rec)
  call('PEXPIRE', 'message:' .. rec.id, STUB_MS)
end

local function take_content(rec, item)
  put(rec, 'message', item.message)
  put(rec, 'at', item.at)
  add_to_tx(item.tx, rec.id)
end

-- From here on the inbox's name leads to the message, and so does what was seen under it before.
local function take_name(rec, item)
  if item.named == '' then return end
  put(rec, 'named', item.named)
  call('SET', 'named:' .. item.named, rec.id)
  local stub = try_load(item.named, bad)
  if stub and not stub.message and stub.delivery then put(rec, 'delivery', stub.delivery) end
end

local function intent_of(id)
  for _, signer in ipairs(call('SMEMBERS', 'signers')) do
    local flat = call('HGETALL', 'intents:' .. signer)
    for i = 1, #flat, 2 do
      local is_intent = not string.find(flat[i], ':', 1, true)
      for _, one in ipairs(is_intent and decoded('intents:' .. signer, flat[i + 1]).calls or {}) do
        if one[1] == id then return signer .. ':' .. flat[i] end
      end
    end
  end
  return false
end

-- A record lost alone left its places behind: they would count it twice, and a transaction that
-- carries it would be sent again.
local function take_places_back(rec)
  local is_anew = false
  for status in pairs(TRANSITIONS) do
    if call('ZREM', 'status:' .. status .. ':' .. rec.route, rec.id) == 1 then
      is_anew = true
      uncount(status, rec.route)
    end
  end
  if not is_anew then return end
  call('ZREM', 'included', rec.id)
  call('ZREM', 'claimed', rec.id)
  for _, gate in ipairs(call('SMEMBERS', 'gates')) do call('ZREM', 'gate:' .. gate, rec.id) end
  put(rec, 'intent', intent_of(rec.id))
end

local function origin_of(rec)
  return string.match(rec.route, ':(%d+)>%d+$')
end

-- Money of another chain is another money, and went to another paymaster than the message's.
local function drop_foreign_payments(rec)
  local own, entries = {}, payments_of(rec)
  for key, row in pairs(entries) do
    if not row[CHAIN] or row[CHAIN] == origin_of(rec) then own[key] = row end
  end
  put_payments(rec, own)
end

local function create(rec, item)
  call('PERSIST', 'message:' .. rec.id)
  take_content(rec, item)
  take_name(rec, item)
  put(rec, 'route', item.route)
  if rec.payments then drop_foreign_payments(rec) end
  take_places_back(rec)
  put(rec, 'status', 'waiting')
  put(rec, 'reason', 'new')
  put(rec, 'since', NOW)
  put(rec, 'seen_at', NOW)
  rec.lines = {}
  add_line(rec, '')
  call('SADD', 'routes', rec.route)
  call('ZADD', 'status:waiting:' .. rec.route, NOW, rec.id)
  count(rec, 1)
  wake(rec, NOW)
  if rec.intent then
    move(rec, 'ready', 'proved', '')
    move(rec, 'submitted', 'broadcast', '')
  end
end

-- What is no record is kept where a person can look at it, and the chain's word takes its place.
local function set_aside(id)
  local dump = redis.call('DUMP', BASE .. 'message:' .. id) or ''
  if #dump <= GARBAGE_BYTES and call('HLEN', 'garbage') < GARBAGE_KEPT then
    call('HSET', 'garbage', id, dump)
  end
  call('DEL', 'message:' .. id)
  return load(id)
end

local function place_of(at)
  return string.match(at, '^%S+ %S+ %S+ %S+ %S+')
end

-- One of two readings is a lie, or its block was replaced. Which of them is for the chain to say:
-- a proof is of one content only. What was refused would never come to one, so it is tried anew.
local function contradict(rec, item)
  local reading = {message = item.message, at = item.at, named = item.named}
  if rec.reading and rec.reading.message == reading.message
    and place_of(rec.reading.at) == place_of(reading.at) then return end
  contradicted[#contradicted + 1] = rec.id
  if rec.status == 'delivered' then return end
  keep_reading(rec, reading)
  if (rec.status == 'held' or rec.status == 'dead') and not BY_OPERATOR[rec.reason] then
    swap_reading(rec)
    move(rec, 'waiting', 'new', 'it was read otherwise since')
    wake(rec, NOW)
  end
  save(rec)
end

local function save_message(rec, item)
  if not rec.message then
    create(rec, item)
  elseif rec.status == 'orphaned' then
    take_content(rec, item)
    move(rec, 'waiting', 'new', '')
    wake(rec, NOW)
  elseif rec.origin_gone then
    take_content(rec, item)
    put(rec, 'origin_gone', false)
    save(rec)
    return
  else
    local is_same = rec.message == item.message and place_of(rec.at) == place_of(item.at)
    if not is_same and rec.route == item.route then contradict(rec, item) end
    return
  end
  save(rec)
  created[#created + 1] = rec.id
  if rec.delivery then confirm_delivery(rec) end
end

-- What was said last counts: the block of what was said before may have been replaced.
local function save_delivery(rec, item)
  local is_known = rec.delivery and place_of(rec.delivery) == place_of(item.at)
  if is_known and (not rec.message or rec.status == 'delivered') then return end
  local tx_before = tx_of(rec.delivery)
  put(rec, 'delivery', item.at)
  if not rec.message then return save_stub(rec) end
  if rec.status == 'delivered' then
    if tx_before and tx_before == rec.tx then remove_from_tx(tx_before, rec.id) end
    note_tx(rec, item.tx)
  end
  if rec.status == 'delivered' or rec.status == 'orphaned' then return save(rec) end
  confirm_delivery(rec)
end

local function is_more(one, two)
  if #one ~= #two then return #one > #two end
  return one > two
end

-- Many payments must not grow the record: those with the most gas and those of the most money are
-- kept, so that nobody's dust can hide what somebody paid, in whatever order they are read.
local function keep_largest(entries, chain)
  local keys, kept = {}, {}
  for key, row in pairs(entries) do
    if row[CHAIN] == chain then keys[#keys + 1] = key else kept[key] = row end
  end
  for _, column in ipairs({GAS, AMOUNT}) do
    table.sort(keys, function(one, two)
      local a, b = entries[one][column], entries[two][column]
      if a == b then return one < two end
      return is_more(a, b)
    end)
    for i = 1, math.min(#keys, PAYMENTS) do kept[keys[i]] = entries[keys[i]] end
  end
  return kept
end

local function save_payment(rec, item)
  local entries = payments_of(rec)
  -- Older versions added up what was paid until some block.
  local folded_to = tonumber(string.match(rec.folded or '', '(%S+)$') or '-1')
  if entries[item.key] or tonumber(item.paid[1]) <= folded_to then return end
  if rec.message and item.paid[CHAIN] ~= origin_of(rec) then return end
  entries[item.key] = item.paid
  entries = keep_largest(entries, item.paid[CHAIN])
  if not entries[item.key] then return end
  put_payments(rec, entries)
  payments = payments + 1
  if not rec.message then return save_stub(rec) end
  if rec.status == 'waiting' then wake(rec, NOW) end
  save(rec)
end

local function save_progress(rec, item)
  if not rec.message then return end
  for _, line in ipairs(rec.lines) do
    if line[4] == item.line then return end
  end
  add_line(rec, item.line)
  if rec.status == 'waiting' or rec.status == 'ready' then wake(rec, NOW) end
  save(rec)
end

local savers = {M = save_message, D = save_delivery, P = save_payment, G = save_progress}
for _, item in ipairs(ARGS.items) do
  local id = item.kind == 'M' and item.id or own_id(item.id)
  local rec = try_load(id, bad)
  if not rec and item.kind == 'M' then rec = set_aside(id) end
  if rec then savers[item.kind](rec, item) end
end
-- A number that does not follow the one we know tells that the batches between were lost.
if ARGS.batch ~= '' and (tonumber(call('HGET', 'batches', ARGS.origin)) or 0) >= ARGS.batch - 1 then
  call('HSET', 'batches', ARGS.origin, ARGS.batch)
end
return {created, delivered, payments, bad, contradicted}
