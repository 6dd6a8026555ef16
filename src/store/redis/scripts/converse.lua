
-- A conversation's list has the record's digest in its name, and ends with it at the latest.

local function keep_messages(list, record)
  redis.call('PEXPIREAT', list, ms(record.absolute + 60000000))
end

-- The three fields that a message begins with.
local HEAD_OF_MESSAGE = '^{"id":"([^"]*)","at":(%d+),"total":(%d+),'

-- How many messages there are, the instant of the last one, and how many bytes they have.
local function conversation(list)
  local count = redis.call('LLEN', list)
  if count == 0 then
    return 0, 0, 0
  end
  local _, at, total = string.match(redis.call('LINDEX', list, -1), HEAD_OF_MESSAGE)
  if not at then
    -- None of this crate's: it has to be counted.
    at, total = 0, 0
    for _, text in ipairs(redis.call('LRANGE', list, 0, -1)) do
      total = total + #text
    end
  end
  return count, tonumber(at), tonumber(total)
end

-- The names of those that are there, with their instants.
local function said(list)
  local ids = {}
  for _, text in ipairs(redis.call('LRANGE', list, 0, -1)) do
    local id, at = string.match(text, HEAD_OF_MESSAGE)
    if id then ids[id] = at end
  end
  return ids
end
