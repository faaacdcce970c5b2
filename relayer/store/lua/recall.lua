-- Makes due now what was claimed and is in nobody's hand; a page of claims after `skip` kept ones.
check_lease()
local keep = {}
for _, id in ipairs(ARGS.keep) do keep[id] = true end
local ids = call('ZRANGE', 'claimed', ARGS.skip, ARGS.skip + ARGS.limit - 1)
local kept, bad = 0, {}
for _, id in ipairs(ids) do
  if keep[id] then
    kept = kept + 1
  else
    call('ZREM', 'claimed', id)
    local rec = try_load(id, bad)
    if rec and (rec.status == 'waiting' or rec.status == 'ready') then
      wake(rec, NOW)
      save(rec)
    end
  end
end
return {#ids, kept}
