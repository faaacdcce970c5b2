-- Size and epoch, then wanted nodes by [level, chunk, slots]; a slot never written is 32 zero bytes.
local WORD = 32
local BLANK = string.rep('\0', WORD)
local size, epoch = tree_state(ARGS.tree)
local out = {size, epoch or '0'}
for _, asked in ipairs(ARGS.chunks) do
  local name = string.format('nodes:%s:%d:%d', ARGS.tree, asked[1], asked[2])
  local words = {}
  local whole = #asked[3] > 8 and (call('GET', name) or '')
  for i, slot in ipairs(asked[3]) do
    local word
    if whole then
      word = string.sub(whole, slot * WORD + 1, slot * WORD + WORD)
    else
      word = call('GETRANGE', name, slot * WORD, slot * WORD + WORD - 1)
    end
    words[i] = #word == WORD and word or BLANK
  end
  out[#out + 1] = table.concat(words)
end
return out
