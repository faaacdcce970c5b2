-- Due messages, whole, shared out evenly over routes; each is pushed on, and kept as claimed, so that
-- a crash repeats it.
check_lease()
trim_delivered(ARGS.trim)
local routes = call('SMEMBERS', 'routes')
table.sort(routes)
local queues = {}
for _, route in ipairs(routes) do
  for _, id in ipairs(call('ZRANGEBYSCORE', 'due:' .. route, ARGS.far, '+inf', 'LIMIT', 0, ARGS.limit)) do
    call('ZADD', 'due:' .. route, ARGS.due, id)
  end
  local due = call('ZCOUNT', 'due:' .. route, '-inf', ARGS.due)
  if due > 0 then queues[#queues + 1] = {route = route, due = due, share = 0} end
end
if #queues == 0 then return {} end

-- Who is first changes from claim to claim: with more routes than room nobody is always last.
local turn = call('INCR', 'turn') % #queues
local left, open = ARGS.limit, true
while left > 0 and open do
  open = false
  for i = 1, #queues do
    local queue = queues[(i + turn - 1) % #queues + 1]
    if queue.share < queue.due and left > 0 then
      queue.share = queue.share + 1
      left = left - 1
      open = true
    end
  end
end

local claimed = {}
local function claim(route, id)
  local flat = redis.pcall('HGETALL', BASE .. 'message:' .. id)
  local fields = {}
  if not flat.err then
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if fields.status ~= 'waiting' and fields.status ~= 'ready' then
      call('ZREM', 'due:' .. route, id)
      return
    end
  end
  call('ZADD', 'due:' .. route, ARGS.until_, id)
  if flat.err then
    claimed[#claimed + 1] = {id, {}}
    return
  end
  call('ZADD', 'claimed', NOW, id)
  call('HSET', 'message:' .. id, 'wake_at', ARGS.until_)
  flat[#flat + 1] = 'wake_at'
  flat[#flat + 1] = ARGS.until_
  claimed[#claimed + 1] = {id, flat}
end

for _, queue in ipairs(queues) do
  if queue.share > 0 then
    for _, id in ipairs(call('ZRANGEBYSCORE', 'due:' .. queue.route, '-inf', ARGS.due, 'LIMIT', 0, queue.share)) do
      claim(queue.route, id)
    end
  end
end
return claimed
