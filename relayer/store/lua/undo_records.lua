-- Undoes facts of replaced blocks in the slot of their records. Repeating changes nothing.
check_origin()
local orphaned, reopened, bad, payments, roots = {}, {}, {}, 0, 0

local function is_from(text, block_hash)
  return text and string.match(text, '^%S+ %S+ (%S+)') == block_hash
end

local function undo_message(rec, block_hash)
  if not rec.message then return end
  if rec.reading and is_from(rec.reading.at, block_hash) then
    keep_reading(rec, nil)
    save(rec)
  end
  if not is_from(rec.at, block_hash) then return end
  if rec.reading then
    -- It was read in another block too, and that one stands.
    swap_reading(rec)
    keep_reading(rec, nil)
    if rec.status == 'waiting' or rec.status == 'ready' then wake(rec, NOW) end
  elseif move(rec, 'orphaned', 'reorged', '') then
    orphaned[#orphaned + 1] = rec.id
  elseif rec.status ~= 'orphaned' then
    put(rec, 'origin_gone', '1')
  end
  save(rec)
end

local function undo_delivery(rec, block_hash)
  if not is_from(rec.delivery, block_hash) then return end
  put(rec, 'delivery', false)
  if rec.message and rec.status == 'delivered' and reopen(rec, 'reorged', 'delivery replaced') then
    reopened[#reopened + 1] = rec.id
  end
  save(rec)
end

local function undo_payment(rec, _, key)
  local entries = payments_of(rec)
  if not entries[key] then return end
  entries[key] = nil
  put_payments(rec, entries)
  payments = payments + 1
  save(rec)
end

local function undo_progress(rec)
  if rec.message and (rec.status == 'waiting' or rec.status == 'ready') then
    wake(rec, NOW)
    save(rec)
  end
end

local function undo_root(block_hash, gate)
  for _, member in ipairs(call('ZRANGE', 'root:' .. gate, 0, -1)) do
    if string.find(member, block_hash, 1, true) then
      roots = roots + call('ZREM', 'root:' .. gate, member)
    end
  end
end

local undoers = {M = undo_message, D = undo_delivery, P = undo_payment, G = undo_progress}
for _, member in ipairs(ARGS.items) do
  local kind, id, block_hash, rest = string.match(member, '^(%u) %d+ (%S+) (%S+) ?(.*)$')
  if kind == 'R' then
    undo_root(block_hash, rest)
  elseif undoers[kind] then
    local rec = try_load(kind == 'M' and id or own_id(id), bad)
    if rec then undoers[kind](rec, block_hash, rest) end
  else
    refuse('UNREADABLE', 'a fact index holds ' .. string.sub(member, 1, 80))
  end
end
return {orphaned, reopened, payments, roots}
