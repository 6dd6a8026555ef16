-- What every script begins with. Instants are microseconds since 1970: a Lua number holds them exactly until 2255.

-- As text: Lua's own way to write a number loses digits.
local function num(n)
  return string.format('%.0f', n)
end

-- The server's clock. It is what every end is judged by.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Milliseconds, for an expiry: never before the instant.
local function ms(micros)
  return num(math.floor(micros / 1000) + 1)
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

local HEAD = '^(%d+) ([%x%-]+) (%d+) (%-?%d*) (%-?%d+) (%d+) (%d+) (%d+) (%d+) ()'
local SEEN = '^(%d+) (%S+) (%d+) ()'

-- A record or a tombstone; nil for what is neither. `tombstone` is its text.
local function read(bytes)
  local ok, parts, more = pcall(cmsgpack.unpack, bytes)
  if not ok or type(parts) ~= 'table' or more ~= nil then
    return nil
  end
  if type(parts.x) == 'string' then
    return { tombstone = parts.x }
  end
  if type(parts.m) ~= 'string' or type(parts.s) ~= 'string' then
    return nil
  end
  local version, handle, created, signed_in, absolute, idle, touch, flags, user_len, user_at =
    string.match(parts.m, HEAD)
  local seen, address, agent_len, agent_at = string.match(parts.s, SEEN)
  if not version or not seen then
    return nil
  end
  local user_end = user_at + user_len
  local agent_end = agent_at + agent_len
  return {
    parts = parts,
    version = version, handle = handle, created = tonumber(created), flags = flags,
    -- Those two are written as the time since it was made; '-': it never signed in.
    signed_in = created + (tonumber(signed_in) or -created), absolute = created + absolute,
    idle = tonumber(idle), touch = tonumber(touch), seen = tonumber(seen),
    user = string.sub(parts.m, user_at, user_end - 1), head_rest = string.sub(parts.m, user_end),
    address = address, agent = string.sub(parts.s, agent_at, agent_end - 1), seen_rest = string.sub(parts.s, agent_end),
  }
end

-- When it ends, and why.
local function ends(record)
  local idle_end = record.seen + record.idle + record.touch
  if idle_end < record.absolute then
    return idle_end, 'idle'
  end
  return record.absolute, 'absolute'
end

local function is_live(record, now)
  return record ~= nil and not record.tombstone and ends(record) > now
end

-- How long it is kept: a user's 2 h beyond its end, so that the reason can be told; a stranger's 1 min.
local function kept_until(record)
  if record.user ~= '' then
    return ends(record) + 7200000000
  end
  return ends(record) + 60000000
end

-- Takes over what is newer; '' is not known, and leaves what was.
local function saw(record, at, address, agent)
  if at == '' or tonumber(at) < record.seen then
    return false
  end
  record.seen = tonumber(at)
  if address ~= '' then record.address = address end
  if agent ~= '' then record.agent = agent end
  record.parts.s = at .. ' ' .. record.address .. ' ' .. #record.agent .. ' ' .. record.agent .. record.seen_rest
  return true
end

-- Puts a tombstone where a session was. `at`: when it ended.
local function bury(key, handle, reason, at, successor, note)
  local kept = 86400000000
  if reason == 'regenerated' then kept = 900000000 end
  local text = reason .. ' ' .. num(at) .. ' ' .. handle .. ' ' .. successor .. ' ' .. #note .. ' ' .. note
  -- Some write must come first that a server without memory allows; after it, the others are allowed as well.
  redis.call('PEXPIREAT', key, ms(at + kept))
  redis.call('SET', key, cmsgpack.pack({ x = text }), 'PXAT', ms(at + kept))
end

-- A session whose end passed unnoticed. It is written down when it leaves its user's list, lest a clock that goes back
-- find it alive and in no list.
local function bury_as_over(key, record)
  local at, reason = ends(record)
  bury(key, record.handle, reason, at, '-', '')
end

-- The index lives as long as any of its sessions: its expiry only moves on.
local function keep_index(index, now, until_)
  local left = redis.call('PTTL', index)
  if left < 0 or now + left * 1000 < until_ then
    redis.call('PEXPIREAT', index, ms(until_))
  end
end
