check_lease()
local tree = ARGS.tree
local size, epoch = tree_state(tree)
if size ~= ARGS.expected then return 0 end
if ARGS.epoch ~= '' and (epoch or '0') ~= ARGS.epoch then return 0 end
if not epoch then begin_epoch(tree) end
for i, run in ipairs(ARGS.runs) do
  call('SETRANGE', string.format('nodes:%s:%d:%d', tree, run[1], run[2]), run[3] * 32, ARGV[i + 1])
end
call('SADD', 'trees', tree)
call('HSET', 'tree:' .. tree, 'size', ARGS.size)
for index = tonumber(ARGS.expected), tonumber(ARGS.size) - 1 do
  call('HDEL', 'leaves:' .. tree, string.format('%.0f', index))
end
return 1
