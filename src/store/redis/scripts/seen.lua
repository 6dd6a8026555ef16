
-- Takes over what is newer; whether it was. `seen`: instant, address ('-': not known) and agent, or '' for none.
local function saw(record, seen)
  local at, address, agent = string.match(seen, '^(%d+) (%S+) (.*)$')
  if not at or tonumber(at) < record.seen then
    return false
  end
  local was_address, was_len, was_at = string.match(record.parts.s, '^%d+ (%S+) (%d+) ()')
  if not was_address then
    return false
  end
  if address == '-' then address = was_address end
  if agent == '' then agent = string.sub(record.parts.s, was_at, was_at + was_len - 1) end
  record.parts.s = at .. ' ' .. address .. ' ' .. #agent .. ' ' .. agent .. string.sub(record.parts.s, was_at + was_len)
  record.seen = tonumber(at)
  settle(record)
  return true
end
