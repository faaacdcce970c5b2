-- Facts about messages, in the slot of the chain they are delivered to. Repeating changes nothing.
check_origin()
local STUB_MS = string.format('%.0f', ARGS.retention_ms)
local PAYMENTS = 64
local created, delivered, bad, payments = {}, {}, {}, 0

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

local function create(rec, item)
  call('PERSIST', 'message:' .. rec.id)
  take_content(rec, item)
  take_name(rec, item)
  put(rec, 'route', item.route)
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
    return
  end
  save(rec)
  created[#created + 1] = rec.id
  if rec.delivery then confirm_delivery(rec) end
end

local function save_delivery(rec, item)
  if rec.delivery and (not rec.message or rec.status == 'delivered') then return end
  put(rec, 'delivery', item.at)
  if not rec.message then return save_stub(rec) end
  if rec.status == 'delivered' or rec.status == 'orphaned' then return save(rec) end
  confirm_delivery(rec)
end

-- Many dust payments must not grow the record: the oldest are added up and their place kept.
local function fold_payments(rec, entries, size)
  while size > PAYMENTS do
    local oldest
    for key, row in pairs(entries) do
      if not oldest or tonumber(row[1]) < tonumber(entries[oldest][1]) then oldest = key end
    end
    local row = entries[oldest]
    local gas, amount, n = string.match(rec.folded or '0 0 0 -1', '^(%d+) (%d+) (%d+)')
    put(rec, 'folded', add_decimal(gas, row[2]) .. ' ' .. add_decimal(amount, row[3]) .. ' '
      .. add_decimal(n, '1') .. ' ' .. row[1])
    entries[oldest] = nil
    size = size - 1
  end
end

local function save_payment(rec, item)
  local entries = rec.payments and decoded('message:' .. rec.id, rec.payments) or {}
  local folded_to = tonumber(string.match(rec.folded or '', '(%S+)$') or '-1')
  if entries[item.key] or tonumber(item.paid[1]) <= folded_to then return end
  entries[item.key] = item.paid
  local size = 0
  for _ in pairs(entries) do size = size + 1 end
  fold_payments(rec, entries, size)
  put(rec, 'payments', cjson.encode(entries))
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
  local rec = try_load(item.kind == 'M' and item.id or own_id(item.id), bad)
  if rec then savers[item.kind](rec, item) end
end
return {created, delivered, payments, bad}
