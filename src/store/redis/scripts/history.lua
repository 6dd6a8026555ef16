
-- A line in the history of a user, at `key`. It is one of a bounded number, and the expiry moves on with it. A key of
-- another type is nobody's history, and no reason to fail.
local function remember(key, line, now)
  local length = redis.pcall('RPUSH', key, num(now) .. ' ' .. line)
  if type(length) == 'number' then
    if length > 200 then
      redis.call('LTRIM', key, -200, -1)
    end
    redis.call('PEXPIREAT', key, ms(now + 7776000000000))
  end
end

-- The same of what happened to a session: `what` is the event and its reason. What is known of its last request comes
-- along.
local function happened(key, now, what, record, note)
  local address, len, at = string.match(record.parts.s, '^%d+ (%S+) (%d+) ()')
  local agent = at and string.sub(record.parts.s, at, at + len - 1) or ''
  local line = what .. ' ' .. handle_of(record) .. ' ' .. (address or '-') .. ' ' .. #note .. ' ' .. note .. ' ' .. agent
  remember(key, line, now)
end

-- The key of the history of the user whose index this is. It is derived: to be called before the first write, with a
-- key that is there, since in a slot that is on its way it may only be on the other server.
local function history_of(index, present)
  local before, after = string.match(index, '^(.-)user_sessions(:{%x%x%x%x}:.*)$')
  local key = before .. 'user_events' .. after
  redis.call('EXISTS', present, key)
  return key
end
