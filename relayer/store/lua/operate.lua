-- What a person asks for one message.
local starts = {
  hold = {waiting = true, ready = true},
  release = {held = true},
  retry = {dead = true, waiting = true, ready = true},
  drop = {waiting = true, ready = true, submitted = true, held = true},
}
local rec = load(ARGS.id)
if not rec.message then refuse('UNKNOWN', 'no message ' .. ARGS.id .. ' is stored') end
if not starts[ARGS.step][rec.status] then
  refuse('ILLEGAL', 'can not ' .. ARGS.step .. ' message ' .. ARGS.id .. ': it is ' .. rec.status
    .. ' (' .. rec.reason .. ')')
end
if ARGS.step == 'hold' then
  move(rec, 'held', 'held_by_operator', '')
elseif ARGS.step == 'drop' then
  move(rec, 'dead', 'dropped_by_operator', '')
elseif ARGS.step == 'release' then
  reopen(rec, 'released_by_operator', '')
else
  put(rec, 'attempts', false)
  reopen(rec, 'retried_by_operator', '')
end
save(rec)
return call('HGETALL', 'message:' .. rec.id)
