-- What the inbox itself says of messages that only a log made delivered. One that it has not waits
-- again; one of which nothing could be told is asked about later.
check_lease()
local reopened, bad = {}, {}
for _, id in ipairs(ARGS.sure) do call('ZREM', 'doubted', id) end
for _, id in ipairs(ARGS.unsure) do call('ZADD', 'doubted', 'XX', NOW, id) end
for _, id in ipairs(ARGS.wrong) do
  call('ZREM', 'doubted', id)
  local rec = try_load(id, bad)
  if rec and rec.message and rec.status == 'delivered' then
    put(rec, 'delivery', false)
    reopen(rec, 'new', 'its delivery was told, but the inbox has it not')
    reopened[#reopened + 1] = id
    save(rec)
  end
end
return reopened
