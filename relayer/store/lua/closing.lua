local ok, out = pcall(main)
if ok then return out end
if type(out) == 'table' then return redis.error_reply(out.refused or out.err) end
return error(out, 0)
