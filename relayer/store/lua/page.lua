-- One page of this lane's messages by (time, id), newest or oldest first, and the mark down to which
-- it is complete ('' when there is no more).
local after_score, after_id = string.match(ARGS.after, '^(%S+) (.*)$')
local found, bound = {}, nil

-- Whether one place comes before another in the order asked for.
local function is_before(one, two)
  if ARGS.oldest_first then one, two = two, one end
  if tonumber(one[1]) ~= tonumber(two[1]) then return tonumber(one[1]) > tonumber(two[1]) end
  return one[2] > two[2]
end

local function is_party(rec, name)
  if ARGS[name] == '' then return true end
  local ok, message = pcall(cjson.decode, rec.message or '')
  if not ok or type(message) ~= 'table' then return false end
  local digits = string.gsub(string.lower(tostring(message[name])), '^0x0*', '')
  return (digits == '' and '0' or digits) == ARGS[name]
end

local must_load = ARGS.reason ~= '' or ARGS.sender ~= '' or ARGS.recipient ~= ''

local function is_behind_mark(place)
  return not after_score or is_before({after_score, after_id}, place)
end

local function wanted(place)
  if not must_load then return true end
  local rec = try_load(place[2], {})
  return rec and (ARGS.reason == '' or rec.reason == ARGS.reason) and is_party(rec, 'sender')
    and is_party(rec, 'recipient')
end

local function rows_of(name, from)
  if ARGS.oldest_first then
    return call('ZRANGEBYSCORE', name, after_score or '-inf', '+inf', 'WITHSCORES', 'LIMIT', from, 200)
  end
  return call('ZREVRANGEBYSCORE', name, after_score or '+inf', '-inf', 'WITHSCORES', 'LIMIT', from, 200)
end

-- Looks through one index; returns the place where it stopped, nil when it saw the end.
local function look(name, scan)
  local taken, looked, from = 0, 0, 0
  while true do
    local rows, last = rows_of(name, from), nil
    for i = 1, #rows, 2 do
      local place = {rows[i + 1], rows[i]}
      if is_behind_mark(place) then
        last, looked = place, looked + 1
        if wanted(place) then
          found[#found + 1] = place
          taken = taken + 1
          if taken >= ARGS.limit then return place end
        end
      end
    end
    from = from + #rows / 2
    if #rows < 400 then return nil end
    if looked >= scan then return last end
  end
end

local function is_wanted_route(route)
  local bridge, origin = string.match(route, '^(.*):(%d+)>%d+$')
  return (ARGS.bridge == '' or bridge == ARGS.bridge) and (ARGS.origin == '' or origin == ARGS.origin)
end

-- Indexes that may hold something: a count of nothing saves looking through all of one.
local function indexes()
  local names = {}
  local routes = ARGS.route ~= '' and {ARGS.route} or call('SMEMBERS', 'routes')
  for _, route in ipairs(routes) do
    for _, status in ipairs(is_wanted_route(route) and ARGS.statuses or {}) do
      local name = 'status:' .. status .. ':' .. route
      local counted = status .. ' ' .. ARGS.reason .. ' ' .. route
      if ARGS.reason == '' or call('HEXISTS', 'counts', counted) == 1 then
        if call('EXISTS', name) == 1 then names[#names + 1] = name end
      end
    end
  end
  return names
end

local names = indexes()
local scan = must_load and math.max(200, ARGS.loads / math.max(1, #names)) or ARGS.scan
for _, name in ipairs(names) do
  local stop = look(name, scan)
  if stop and (not bound or is_before(stop, bound)) then bound = stop end
end

table.sort(found, is_before)
local out = {}
for _, place in ipairs(found) do
  if #out >= ARGS.limit or (bound and is_before(bound, place)) then
    bound = bound and is_before(bound, place) and bound or found[#out]
    break
  end
  out[#out + 1] = place
end
local rows = {}
for _, place in ipairs(out) do
  local rec = try_load(place[2], {})
  if rec and rec.message then rows[#rows + 1] = {place[1], place[2], call('HGETALL', 'message:' .. place[2])} end
end
return {bound and (bound[1] .. ' ' .. bound[2]) or '', rows}
