-- Words shared by every script. KEYS[1] is '<prefix>:{<chain>}:', ARGV[1] the JSON arguments,
-- ARGV[2..] raw bytes. Integers that may pass 2^53 are strings here and stay strings.
local BASE = KEYS[1]
local ARGS = cjson.decode(ARGV[1])
local NOW = ARGS.now
local TIMELINE = 64
local EVENTS = 10000
local TIMES = 512
local DOUBTED = 10000
local FIELDS = {'packed', 'message', 'route', 'status', 'reason', 'detail', 'since', 'seen_at', 'at',
  'wake_at', 'gate', 'gate_value', 'clocks', 'attempts', 'alone', 'evidence', 'timeline', 'tx',
  'intent', 'block', 'delivery', 'origin_gone', 'payments', 'folded', 'named', 'other',
  'refused_since'}

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

-- A fencing token, nil for anything else: above 2^53 two of them could look the same.
local function token_of(text)
  local token = text and string.match(text, '^%d+$') and tonumber(text)
  if token and token < 2 ^ 53 then return token end
end

local function check_lease()
  if call('GET', 'lease:' .. ARGS.role) ~= ARGS.lease then
    refuse('LEASELOST', 'the ' .. ARGS.role .. ' of chain ' .. ARGS.chain .. ' is not ours any more')
  end
end

-- A follower writes records into other chains' slots: there its token must not be older than one
-- seen before from the same origin.
local function check_origin()
  if ARGS.origin == ARGS.chain then return check_lease() end
  local seen, token = token_of(call('HGET', 'origins', ARGS.origin)), tonumber(ARGS.token)
  if seen and seen > token then
    refuse('LEASELOST', 'a newer follower of chain ' .. ARGS.origin .. ' has written since')
  end
  if seen ~= token then call('HSET', 'origins', ARGS.origin, ARGS.token) end
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
