-- Words shared by every script. KEYS[1] is '<prefix>:{<chain>}:', ARGV[1] the JSON arguments,
-- ARGV[2..] raw bytes. Integers that may pass 2^53 are strings here and stay strings.
local BASE = KEYS[1]
local ARGS = cjson.decode(ARGV[1])
local NOW = ARGS.now
local TIMELINE = 64
local EVENTS = 10000
local TIMES = 512
local FIELDS = {'packed', 'message', 'route', 'status', 'reason', 'detail', 'since', 'seen_at', 'at',
  'wake_at', 'gate', 'gate_value', 'clocks', 'attempts', 'alone', 'evidence', 'timeline', 'tx',
  'intent', 'block', 'delivery', 'origin_gone', 'payments', 'folded', 'named'}

-- Ends the script with an error whose first word says which (see wire.REFUSALS).
local function refuse(word, text)
  error({refused = word .. ' ' .. text})
end

-- redis.call on a key of this chain; an error names the key.
local function call(command, name, ...)
  local answer = redis.pcall(command, BASE .. name, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then
      refuse('UNREADABLE', 'the key ' .. BASE .. name .. ' has another type than the store gives it')
    end
    error({refused = answer.err .. ' (key ' .. BASE .. name .. ')'})
  end
  return answer
end

local function decoded(name, text)
  local ok, value = pcall(cjson.decode, text)
  if not ok or type(value) ~= 'table' then
    refuse('UNREADABLE', 'the key ' .. BASE .. name .. ' holds something else than JSON')
  end
  return value
end

-- The server's clock in microseconds, or more: it grows even when what was counted is lost.
local function clock_above(last)
  local time = redis.call('TIME')
  return string.format('%.0f', math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), last + 1))
end

-- Takes money out of budgets of one day, or gives it back; whole gwei, which fit 64 bits.
local function spend(what)
  for budget, gwei in pairs(what.gwei) do
    call('HINCRBY', 'spent:' .. what.day, budget, string.format('%.0f', gwei))
    call('EXPIRE', 'spent:' .. what.day, what.kept_s)
  end
end

-- Adding non-negative decimal strings of any length.
local function add_decimal(one, two)
  local out, carry, i, j = {}, 0, #one, #two
  while i > 0 or j > 0 or carry > 0 do
    local sum = carry
    if i > 0 then sum = sum + string.byte(one, i) - 48 end
    if j > 0 then sum = sum + string.byte(two, j) - 48 end
    carry = sum >= 10 and 1 or 0
    table.insert(out, 1, string.char(48 + sum % 10))
    i, j = i - 1, j - 1
  end
  return #out == 0 and '0' or table.concat(out)
end

-- Fencing --------------------------------------------------------------------------------------

local function check_lease()
  if call('GET', 'lease:' .. ARGS.role) ~= ARGS.lease then
    refuse('LEASELOST', 'the ' .. ARGS.role .. ' of chain ' .. ARGS.chain .. ' is not ours any more')
  end
end

-- A follower writes records into other chains' slots: there its token must not be older than one
-- seen before from the same origin.
local function check_origin()
  if ARGS.origin == ARGS.chain then return check_lease() end
  local seen = call('HGET', 'origins', ARGS.origin)
  if seen and tonumber(seen) > tonumber(ARGS.token) then
    refuse('LEASELOST', 'a newer follower of chain ' .. ARGS.origin .. ' has written since')
  end
  if seen ~= ARGS.token then call('HSET', 'origins', ARGS.origin, ARGS.token) end
end

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

local function deliver(rec, by_us, tx, detail)
  if not move(rec, 'delivered', by_us and 'delivered_by_us' or 'delivered_by_other', detail) then
    return false
  end
  note_tx(rec, tx)
  put(rec, 'evidence', false)
  put(rec, 'alone', false)
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
  return true
end

function NOTES.retry(rec, item)
  if not move(rec, 'waiting', item.reason, item.detail, true) then return false end
  put(rec, 'attempts', tostring(tonumber(rec.attempts or '0') + 1))
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

-- Trees ----------------------------------------------------------------------------------------

-- Size and epoch as texts; the epoch is false for a tree that was never stored.
local function tree_state(tree)
  local found = call('HMGET', 'tree:' .. tree, 'size', 'epoch')
  for _, text in ipairs({found[1] or '0', found[2] or '0'}) do
    if not string.match(text, '^%d+$') then
      refuse('GARBAGE', 'the key ' .. BASE .. 'tree:' .. tree .. ' holds ' .. string.sub(text, 1, 40)
        .. ' where a number belongs; delete the key, and the tree is built anew from the chain')
    end
  end
  return found[1] or '0', found[2]
end

local function tree_size(tree)
  local size = tree_state(tree)
  return tonumber(size)
end

-- An epoch no tree had before, not even one of a store that was lost since.
local function begin_epoch(tree)
  local _, last = tree_state(tree)
  call('HSET', 'tree:' .. tree, 'epoch', clock_above(last or '0'))
end

-- Forgets leaves from `first` on, in the tree and among the loose ones.
local function cut_tree(tree, first)
  for _, index in ipairs(call('HKEYS', 'leaves:' .. tree)) do
    if tonumber(index) >= first then call('HDEL', 'leaves:' .. tree, index) end
  end
  for _, member in ipairs(call('ZRANGE', 'leaf_blocks:' .. tree, 0, -1)) do
    if tonumber(string.match(member, '^%d+')) >= first then
      call('ZREM', 'leaf_blocks:' .. tree, member)
    end
  end
  -- Also when only loose leaves went: whoever read them before must not take them in.
  begin_epoch(tree)
  local size = tree_size(tree)
  if first >= size then return size end
  call('HSET', 'tree:' .. tree, 'size', string.format('%.0f', first))
  return first
end
