-- Words about messages, behind words.lua in every script: records with their indexes, and what a
-- lane finds out about them.

-- Records --------------------------------------------------------------------------------------

local function garbage(id, why)
  refuse('GARBAGE', 'the key ' .. BASE .. 'message:' .. id .. ' does not hold a message record (' .. why .. ')')
end

-- The transaction in an 'at' or 'delivery' text.
local function tx_of(text)
  return text and string.match(text, '^%S+ %S+ %S+ (%S+)')
end

-- A finished record keeps all but the message in one field: half the memory.
local function unpack_into(rec)
  local ok, fields = pcall(cjson.decode, rec.packed)
  if not ok or type(fields) ~= 'table' or type(fields.timeline) ~= 'table' then
    garbage(rec.id, 'packed')
  end
  fields.timeline = cjson.encode(fields.timeline)
  fields.tx = fields.tx or tx_of(fields.delivery)
  for field, value in pairs(fields) do
    rec[field] = value
    rec.changed[field] = true
  end
  rec.packed = false
  rec.changed.packed = true
end

-- A record's fields (false when absent); `rec.message` is false for none or a stub.
local function load(id)
  local values = redis.pcall('HMGET', BASE .. 'message:' .. id, unpack(FIELDS))
  if values.err then garbage(id, 'another type') end
  local rec = {id = id, changed = {}}
  for i, field in ipairs(FIELDS) do rec[field] = values[i] end
  if rec.packed then unpack_into(rec) end
  rec.news = {}
  if rec.message then
    if not TRANSITIONS[rec.status or ''] then garbage(id, 'status') end
    if not rec.route or not rec.reason or not rec.at then garbage(id, 'fields') end
    if not tonumber(rec.seen_at) then garbage(id, 'seen_at') end
    local ok, lines = pcall(cjson.decode, rec.timeline or '')
    if not ok or type(lines) ~= 'table' then garbage(id, 'timeline') end
    rec.lines = lines
  end
  if rec.other then
    local ok, other = pcall(cjson.decode, rec.other)
    if not ok or type(other) ~= 'table' or not other.message or not tx_of(other.at) then garbage(id, 'other') end
    rec.reading = other
  end
  return rec
end

-- Like load, but nil and a note in `bad` instead of an error.
local function try_load(id, bad)
  local ok, rec = pcall(load, id)
  if ok then return rec end
  if type(rec) == 'table' and rec.refused and string.sub(rec.refused, 1, 7) == 'GARBAGE' then
    bad[#bad + 1] = string.sub(rec.refused, 9)
    return nil
  end
  error(rec, 0)
end

-- The id of the message that its inbox calls `name`: almost always the same.
local function own_id(name)
  return call('GET', 'named:' .. name) or name
end

local function put(rec, field, value)
  if value == nil or value == '' then value = false end
  rec[field] = value
  rec.changed[field] = true
end

local function pack(rec)
  local fields = {}
  for _, field in ipairs(FIELDS) do
    if field ~= 'message' and rec[field] then fields[field] = rec[field] end
  end
  fields.timeline = rec.lines
  if rec.tx == tx_of(rec.delivery) then fields.tx = nil end
  call('DEL', 'message:' .. rec.id)
  call('HSET', 'message:' .. rec.id, 'message', rec.message, 'packed', cjson.encode(fields))
  -- The index is trimmed after retention; the longer life is for lanes nobody runs any more.
  local life = string.format('%.0f', ARGS.retention_ms * 2)
  call('PEXPIRE', 'message:' .. rec.id, life)
  if rec.named then call('PEXPIRE', 'named:' .. rec.named, life) end
  rec.changed = {}
end

-- Events are numbered without holes, so that a reader sees what was trimmed before it came; they
-- start at the time, so that numbers of a wiped server are not mistaken for new ones.
local function next_event()
  local number = call('INCR', 'event_count')
  if number == 1 then
    local time = redis.call('TIME')
    number = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    call('SET', 'event_count', string.format('%.0f', number))
    call('SET', 'event_start', string.format('%.0f', number))
  end
  return string.format('%.0f', number)
end

-- Tells the lines that were added to the timeline since the record was loaded.
local function tell(rec)
  local origin_tx = tx_of(rec.at) or ''
  for _, line in ipairs(rec.news) do
    local id = next_event() .. '-0'
    local function add()
      return redis.pcall('XADD', BASE .. 'events', 'MAXLEN', '~', EVENTS, id, 'at', line[1],
        'status', line[2], 'reason', line[3], 'id', rec.id, 'route', rec.route,
        'origin_tx', origin_tx, 'tx', rec.tx or '')
    end
    -- A stream that somebody damaged must not stop the messages.
    local answer = add()
    if type(answer) == 'table' and answer.err then
      call('DEL', 'events')
      add()
    end
  end
  rec.news = {}
end

local function save(rec)
  if #rec.news > 0 then tell(rec) end
  if rec.status == 'delivered' then return pack(rec) end
  local set, del = {}, {}
  for field in pairs(rec.changed) do
    if rec[field] then
      set[#set + 1] = field
      set[#set + 1] = rec[field]
    else
      del[#del + 1] = field
    end
  end
  if #set > 0 then call('HSET', 'message:' .. rec.id, unpack(set)) end
  if #del > 0 then call('HDEL', 'message:' .. rec.id, unpack(del)) end
  rec.changed = {}
end

local function add_line(rec, text)
  local lines = rec.lines
  lines[#lines + 1] = {NOW, rec.status, rec.reason, text or ''}
  -- The first line says when it was seen and always stays.
  while #lines > TIMELINE do table.remove(lines, 2) end
  rec.news[#rec.news + 1] = lines[#lines]
  put(rec, 'timeline', cjson.encode(lines))
end

local function count(rec, by)
  local field = rec.status .. ' ' .. rec.reason .. ' ' .. rec.route
  if call('HINCRBY', 'counts', field, by) <= 0 then call('HDEL', 'counts', field) end
end

-- Takes a message out of the counts of which only the status is known.
local function uncount(status, route)
  local most, field = 0, nil
  local flat = call('HGETALL', 'counts')
  for i = 1, #flat, 2 do
    local is_alike = string.sub(flat[i], 1, #status + 1) == status .. ' '
      and string.sub(flat[i], -#route - 1) == ' ' .. route
    local number = tonumber(flat[i + 1]) or 0
    if is_alike and number > most then most, field = number, flat[i] end
  end
  if field and call('HINCRBY', 'counts', field, -1) <= 0 then call('HDEL', 'counts', field) end
end

local function leave_gate(rec)
  if not rec.gate then return end
  call('ZREM', 'gate:' .. rec.gate, rec.id)
  if call('EXISTS', 'gate:' .. rec.gate) == 0 then call('SREM', 'gates', rec.gate) end
  put(rec, 'gate', false)
  put(rec, 'gate_value', false)
end

local function wake(rec, at)
  put(rec, 'wake_at', at)
  call('ZADD', 'due:' .. rec.route, at, rec.id)
end

local function sleep(rec)
  if rec.wake_at then
    call('ZREM', 'due:' .. rec.route, rec.id)
    put(rec, 'wake_at', false)
  end
  leave_gate(rec)
  if rec.clocks then put(rec, 'clocks', false) end
end

-- 'tx:<hash>' is a string of ids: almost always one, and a set would take four times the memory.
local function add_to_tx(tx, id)
  local ids = call('GET', 'tx:' .. tx) or ''
  -- SET, because APPEND would reserve as much again.
  if not string.find(ids, id, 1, true) then call('SET', 'tx:' .. tx, ids .. id .. ' ') end
end

local function remove_from_tx(tx, id)
  local left = {}
  for other in string.gmatch(call('GET', 'tx:' .. tx) or '', '%S+') do
    if other ~= id then left[#left + 1] = other .. ' ' end
  end
  if #left == 0 then
    call('DEL', 'tx:' .. tx)
  else
    call('SET', 'tx:' .. tx, table.concat(left))
  end
end

local function note_tx(rec, tx)
  if tx and tx ~= '' then
    add_to_tx(tx, rec.id)
    put(rec, 'tx', tx)
  end
end

-- What was paid, by transaction and log index: [block, gas, amount, chain].
local function payments_of(rec)
  return rec.payments and decoded('message:' .. rec.id, rec.payments) or {}
end

local function put_payments(rec, entries)
  put(rec, 'payments', next(entries) and cjson.encode(entries))
end

-- Older versions did not say on which chain: whatever was not paid there is read again in time.
local function forget_payments(rec, chain)
  local left = {}
  for key, row in pairs(payments_of(rec)) do
    if row[4] and row[4] ~= chain then left[key] = row end
  end
  put_payments(rec, left)
end

-- What a message was read as another time, when the two differ in content or place.
local function keep_reading(rec, reading)
  rec.reading = reading
  put(rec, 'other', reading and cjson.encode(reading))
end

-- The other reading takes the place of the stored one, which is kept in turn.
local function swap_reading(rec)
  local reading = rec.reading
  keep_reading(rec, {message = rec.message, at = rec.at, named = rec.named or ''})
  remove_from_tx(tx_of(rec.at), rec.id)
  add_to_tx(tx_of(reading.at), rec.id)
  if rec.named then call('DEL', 'named:' .. rec.named) end
  if reading.named ~= '' then call('SET', 'named:' .. reading.named, rec.id) end
  put(rec, 'message', reading.message)
  put(rec, 'at', reading.at)
  put(rec, 'named', reading.named)
  for _, field in ipairs({'attempts', 'alone', 'evidence', 'refused_since'}) do put(rec, field, false) end
end

-- A legal change of state with its indexes and its line in the timeline; false when illegal.
-- A message that waits without a gate, and one that is ready, must be given `wake` afterwards.
local function move(rec, status, reason, detail, always_line)
  if not TRANSITIONS[rec.status][status] then return false end
  local same = rec.status == status and rec.reason == reason
  count(rec, -1)
  if rec.status == 'delivered' then
    call('PERSIST', 'message:' .. rec.id)
    if rec.named then call('PERSIST', 'named:' .. rec.named) end
  elseif rec.status == 'included' then
    call('ZREM', 'included', rec.id)
    put(rec, 'block', false)
  end
  sleep(rec)
  if rec.status ~= status then
    call('ZREM', 'status:' .. rec.status .. ':' .. rec.route, rec.id)
    -- Delivered ones by when that was: their index is trimmed from its old end.
    local place = status == 'delivered' and NOW or rec.seen_at
    call('ZADD', 'status:' .. status .. ':' .. rec.route, place, rec.id)
  end
  -- A ready message is still in its claimer's hand, in the inbox or in a pack.
  if status ~= 'ready' then call('ZREM', 'claimed', rec.id) end
  put(rec, 'status', status)
  put(rec, 'reason', reason)
  put(rec, 'detail', detail)
  count(rec, 1)
  if not same then put(rec, 'since', NOW) end
  -- A wait that is looked at again and again is one line, not sixty-four.
  if not same or always_line then add_line(rec, detail) end
  return true
end

-- Back to waiting, due now; a message whose origin block is gone meanwhile is orphaned instead.
local function reopen(rec, reason, detail)
  if not move(rec, 'waiting', reason, detail) then return false end
  if rec.origin_gone then
    put(rec, 'origin_gone', false)
    return move(rec, 'orphaned', 'reorged', '')
  end
  wake(rec, NOW)
  return true
end

-- How long our own deliveries took, for estimates. Those of others may be old history read late.
local function note_time(rec)
  local name = 'times:' .. rec.route
  call('LPUSH', name, string.format('%.3f', math.max(0, tonumber(NOW) - tonumber(rec.seen_at))))
  call('LTRIM', name, 0, TIMES - 1)
end

-- Unless our own receipt showed it before, it rests on one log, or one view: it is looked at twice.
local function doubt(rec)
  if rec.status == 'included' and rec.reason == 'mined' then return end
  call('ZADD', 'doubted', NOW, rec.id)
  call('ZREMRANGEBYRANK', 'doubted', 0, -1 - DOUBTED)
end

local function deliver(rec, by_us, tx, detail)
  if TRANSITIONS[rec.status].delivered then doubt(rec) end
  if not move(rec, 'delivered', by_us and 'delivered_by_us' or 'delivered_by_other', detail) then
    return false
  end
  note_tx(rec, tx)
  put(rec, 'evidence', false)
  put(rec, 'alone', false)
  put(rec, 'refused_since', false)
  keep_reading(rec, nil)
  if by_us then note_time(rec) end
  save(rec)
  return true
end

local function forget(route, id)
  local rec = try_load(id, {})
  local reason = rec and rec.message and rec.reason
  if reason then
    remove_from_tx(tx_of(rec.at), id)
    if rec.tx then remove_from_tx(rec.tx, id) end
    call('DEL', 'message:' .. id)
    if rec.named then call('DEL', 'named:' .. rec.named) end
  elseif call('HEXISTS', 'counts', 'delivered delivered_by_us ' .. route) == 1 then
    reason = 'delivered_by_us'
  end
  call('ZREM', 'status:delivered:' .. route, id)
  call('ZREM', 'doubted', id)
  count({status = 'delivered', reason = reason or 'delivered_by_other', route = route}, -1)
end

-- Forgets messages delivered longer ago than the retention, at most `limit` of each route.
local function trim_delivered(limit)
  local before = string.format('%.3f', tonumber(NOW) - ARGS.retention_ms / 1000)
  for _, route in ipairs(call('SMEMBERS', 'routes')) do
    local old = call('ZRANGEBYSCORE', 'status:delivered:' .. route, '-inf', before, 'LIMIT', 0, limit)
    for _, id in ipairs(old) do forget(route, id) end
  end
end

-- What a lane finds out about a message ----------------------------------------------------------

local AT_WORK = {waiting = true, ready = true, submitted = true}
local NOTE_STARTS = {
  wait = {waiting = true, ready = true},
  ready = {waiting = true, ready = true},
  refused = {waiting = true, ready = true, submitted = true, held = true},
  retry = AT_WORK,
  included = {waiting = true, ready = true, submitted = true, included = true},
  delivered = {waiting = true, ready = true, submitted = true, included = true, held = true, dead = true},
  reopen = {included = true, submitted = true},
}

local NOTES = {}

local function spend_attempt(rec) put(rec, 'attempts', tostring(tonumber(rec.attempts or '0') + 1)) end

function NOTES.wait(rec, item)
  if not move(rec, 'waiting', item.reason, item.detail) then return false end
  wake(rec, item.wake_at)
  put(rec, 'clocks', item.clocks)
  if item.gate then
    put(rec, 'gate', item.gate)
    put(rec, 'gate_value', item.gate_value)
    call('SADD', 'gates', item.gate)
    call('ZADD', 'gate:' .. item.gate, item.gate_score, rec.id)
  end
  if item.refused and not rec.refused_since then put(rec, 'refused_since', NOW) end
  if item.disproved and rec.reading then swap_reading(rec) end
  return true
end

function NOTES.ready(rec, item)
  local at = item.wake_at or rec.wake_at or NOW
  if not move(rec, 'ready', 'proved', '') then return false end
  wake(rec, at)
  return true
end

function NOTES.refused(rec, item)
  local status = item.dead and 'dead' or 'held'
  -- There is no way from submitted to held but through waiting.
  if status == 'held' and rec.status == 'submitted' then move(rec, 'waiting', item.reason, item.detail) end
  if not move(rec, status, item.reason, item.detail) then return false end
  if item.evidence ~= '' then put(rec, 'evidence', item.evidence) end
  if item.spent then spend_attempt(rec) end
  return true
end

function NOTES.retry(rec, item)
  if not move(rec, 'waiting', item.reason, item.detail, true) then return false end
  spend_attempt(rec)
  put(rec, 'evidence', item.evidence)
  put(rec, 'alone', item.alone and '1')
  wake(rec, item.wake_at)
  return true
end

function NOTES.included(rec, item)
  local reason = item.by_us and 'mined' or 'delivered_by_other'
  if not move(rec, 'included', reason, item.detail) then return false end
  put(rec, 'block', item.block)
  call('ZADD', 'included', item.block, rec.id)
  note_tx(rec, item.tx)
  return true
end

function NOTES.delivered(rec, item)
  return deliver(rec, item.by_us, item.tx, item.detail)
end

function NOTES.reopen(rec, item)
  return reopen(rec, item.reason, '')
end

-- Writes down one finding; false when the message has moved on meanwhile. `save` it afterwards.
local function note(rec, step, item)
  return rec.message and NOTE_STARTS[step][rec.status] and NOTES[step](rec, item) or false
end
