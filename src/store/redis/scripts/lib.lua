-- What every script begins with. Instants are microseconds since 1970: a Lua number holds them exactly until 2255.
-- Each function here costs every call of every script; what only some need is in the other parts.

-- As text: Lua's own way to write a number loses digits.
local function num(n)
  return string.format('%.0f', n)
end

-- Milliseconds, for an expiry: never before the instant.
local function ms(micros)
  return string.format('%.0f', math.floor(micros / 1000) + 1)
end

-- The server's clock. It is what every end is judged by.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The bytes under a key; false: none. What is of another type is there, and is no record.
local function get(key)
  local reply = redis.pcall('GET', key)
  if type(reply) ~= 'table' then
    return reply
  end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then
    return ''
  end
  return redis.call('GET', key)
end

-- To be called before a key counts as absent that the caller did not declare. While a slot migrates, an absent key may
-- only be on the other server: a command with two keys fails then, and nothing has changed.
local function really_absent(present, absent)
  redis.call('EXISTS', present, absent)
end

-- When it ends, from what its head and its last request say.
local function settle(record)
  local idle_end = record.seen + record.idle + record.touch
  record.ends = idle_end < record.absolute and idle_end or record.absolute
end

-- Of a record's head: created, absolute end since then, idle timeout, touch threshold, length and place of the user.
local HEAD = '^%d+ %S+ (%d+) %S+ (%-?%d+) (%d+) (%d+) %d+ (%d+) ()'

-- A record or a tombstone; nil for what is neither. `tombstone` is its text.
local function read(bytes)
  local ok, parts, more = pcall(cmsgpack.unpack, bytes)
  if not ok or type(parts) ~= 'table' or more ~= nil then
    return nil
  end
  local head, last = parts.m, parts.s
  if type(parts.x) == 'string' then
    return { tombstone = parts.x, ends = 0 }
  end
  if type(head) ~= 'string' or type(last) ~= 'string' then
    return nil
  end
  local created, absolute, idle, touch, user_len, user_at = string.match(head, HEAD)
  local seen = string.match(last, '^(%d+) ')
  if not created or not seen then
    return nil
  end
  local record = {
    parts = parts, seen = tonumber(seen), idle = tonumber(idle), touch = tonumber(touch), created = tonumber(created),
    absolute = created + absolute, user = string.sub(head, user_at, user_at + user_len - 1),
  }
  settle(record)
  return record
end

-- How long it is kept: a user's 2 h beyond its end, so that the reason can be told; a stranger's 1 min.
local function kept_until(record)
  return ms(record.ends + (record.user == '' and 60000000 or 7200000000))
end
