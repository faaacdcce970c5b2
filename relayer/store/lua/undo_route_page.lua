-- The origin starts over: no block of it that we know is the chain's any more. Undoes, in one slot,
-- what its messages and, in its own slot, the deliveries to it rest on; one page of one index.
check_origin()
local bad = {}

local function orphan(rec)
  put(rec, 'payments', false)
  put(rec, 'folded', false)
  if not move(rec, 'orphaned', 'reorged', '') and rec.status ~= 'orphaned' then put(rec, 'origin_gone', '1') end
end

local function forget_delivery(rec)
  put(rec, 'delivery', false)
  if rec.status == 'delivered' then reopen(rec, 'reorged', 'delivery replaced') end
end

local index = 'status:' .. ARGS.status .. ':' .. ARGS.route
local from, to = string.match(ARGS.route, ':(%d+)>(%d+)$')
local ids = call('ZRANGE', index, ARGS.skip, ARGS.skip + ARGS.limit - 1)
local kept = 0
for _, id in ipairs(ids) do
  local rec = try_load(id, bad)
  if rec and rec.message then
    if from == ARGS.origin then orphan(rec) end
    if to == ARGS.origin then forget_delivery(rec) end
    save(rec)
  end
  if not rec or not rec.message or rec.status == ARGS.status then kept = kept + 1 end
end
return {#ids, kept}
