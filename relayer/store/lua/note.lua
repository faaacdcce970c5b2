-- What a lane found out about messages. A message that moved on meanwhile is left alone.
check_lease()
local at_work = {waiting = true, ready = true, submitted = true}
local starts = {
  wait = {waiting = true, ready = true},
  ready = {waiting = true, ready = true},
  refused = {waiting = true, ready = true, submitted = true, held = true},
  retry = at_work,
  included = {waiting = true, ready = true, submitted = true, included = true},
  delivered = {waiting = true, ready = true, submitted = true, included = true, held = true, dead = true},
  reopen = {included = true, submitted = true},
}

local steps = {}

function steps.wait(rec, item)
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

function steps.ready(rec, item)
  local at = item.wake_at or rec.wake_at or NOW
  if not move(rec, 'ready', 'proved', '') then return false end
  wake(rec, at)
  return true
end

function steps.refused(rec, item)
  local status = item.dead and 'dead' or 'held'
  -- There is no way from submitted to held but through waiting.
  if status == 'held' and rec.status == 'submitted' then move(rec, 'waiting', item.reason, item.detail) end
  if not move(rec, status, item.reason, item.detail) then return false end
  if item.evidence ~= '' then put(rec, 'evidence', item.evidence) end
  return true
end

function steps.retry(rec, item)
  if not move(rec, 'waiting', item.reason, item.detail, true) then return false end
  put(rec, 'attempts', tostring(tonumber(rec.attempts or '0') + 1))
  put(rec, 'evidence', item.evidence)
  put(rec, 'alone', item.alone and '1')
  wake(rec, item.wake_at)
  return true
end

function steps.included(rec, item)
  local reason = item.by_us and 'mined' or 'delivered_by_other'
  if not move(rec, 'included', reason, item.detail) then return false end
  put(rec, 'block', item.block)
  call('ZADD', 'included', item.block, rec.id)
  note_tx(rec, item.tx)
  return true
end

function steps.delivered(rec, item)
  return deliver(rec, item.by_us, item.tx, item.detail)
end

function steps.reopen(rec, item)
  return reopen(rec, item.reason, '')
end

local refused, bad = {}, {}
local may_start, step = starts[ARGS.step], steps[ARGS.step]
for _, item in ipairs(ARGS.items) do
  local rec = try_load(item.id, bad)
  if rec and rec.message and may_start[rec.status] and step(rec, item) then
    save(rec)
  else
    refused[#refused + 1] = item.id
  end
end
return refused
