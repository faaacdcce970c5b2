-- One page of this lane's messages, newest first by (seen_at, id), and the mark down to which it is
-- complete ('' when there is no more).
local after_score, after_id = string.match(ARGS.after, '^(%S+) (.*)$')
local found, bound = {}, nil

local function is_newer(one, two)
  if tonumber(one[1]) ~= tonumber(two[1]) then return tonumber(one[1]) > tonumber(two[1]) end
  return one[2] > two[2]
end

local function wanted(place)
  if after_score and not is_newer({after_score, after_id}, place) then return false end
  if ARGS.reason == '' then return true end
  local rec = try_load(place[2], {})
  return rec and rec.reason == ARGS.reason
end

-- Looks through one index; returns the place where it stopped, nil when it saw the end.
local function look(name)
  local taken, scanned, last = 0, 0, nil
  while true do
    local rows = call('ZREVRANGEBYSCORE', name, after_score or '+inf', '-inf', 'WITHSCORES', 'LIMIT', scanned, 200)
    for i = 1, #rows, 2 do
      last = {rows[i + 1], rows[i]}
      if wanted(last) then
        found[#found + 1] = last
        taken = taken + 1
        if taken >= ARGS.limit then return last end
      end
    end
    scanned = scanned + #rows / 2
    if #rows < 400 then return nil end
    if scanned >= ARGS.scan then return last end
  end
end

local routes = ARGS.route ~= '' and {ARGS.route} or call('SMEMBERS', 'routes')
for _, route in ipairs(routes) do
  for _, status in ipairs(ARGS.statuses) do
    local stop = look('status:' .. status .. ':' .. route)
    if stop and (not bound or is_newer(stop, bound)) then bound = stop end
  end
end

table.sort(found, is_newer)
local out = {}
for _, place in ipairs(found) do
  if #out >= ARGS.limit or (bound and is_newer(bound, place)) then
    bound = bound and is_newer(bound, place) and bound or found[#out]
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
