-- What a person asks for one message; `starts` are the statuses it may have.
local starts = {}
for _, status in ipairs(ARGS.starts) do starts[status] = true end
local rec = load(ARGS.id)
if not rec.message then refuse('UNKNOWN', 'no message ' .. ARGS.id .. ' is stored') end
if not starts[rec.status] then
  refuse('ILLEGAL', 'can not ' .. ARGS.step .. ' message ' .. ARGS.id .. ': it is ' .. rec.status
    .. ' (' .. rec.reason .. ')')
end
if ARGS.step == 'hold' then
  move(rec, 'held', 'held_by_operator', '')
elseif ARGS.step == 'drop' then
  move(rec, 'dead', 'dropped_by_operator', '')
elseif ARGS.step == 'release' then
  put(rec, 'refused_since', false)
  reopen(rec, 'released_by_operator', '')
else
  put(rec, 'attempts', false)
  put(rec, 'refused_since', false)
  reopen(rec, 'retried_by_operator', '')
end
save(rec)
return call('HGETALL', 'message:' .. rec.id)
