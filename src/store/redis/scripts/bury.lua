
local function handle_of(record)
  return string.match(record.parts.m, '^%d+ (%S+)')
end

-- Tells of an end whoever listens at this moment. They ask as well, so that nothing rests on it: a server that does not
-- allow it refuses in vain.
local function tell(key, bytes)
  redis.pcall('PUBLISH', string.match(key, '^(.*session):{') .. '_ends', key .. ' ' .. bytes)
end

-- Puts a tombstone where a session was; without a record, where one might come to be. `at`: when it ended.
local function bury(key, record, reason, at, successor, note)
  local kept = reason == 'regenerated' and 900000000 or 86400000000
  local handle = record and handle_of(record) or '00000000-0000-0000-0000-000000000000'
  local text = reason .. ' ' .. num(at) .. ' ' .. handle .. ' ' .. successor .. ' ' .. #note .. ' ' .. note
  -- Some write must come first that a server without memory allows; after it, the others are allowed as well.
  redis.call('PEXPIREAT', key, ms(at + kept))
  local bytes = cmsgpack.pack({ x = text })
  redis.call('SET', key, bytes, 'PXAT', ms(at + kept))
  if record and reason ~= 'regenerated' then
    tell(key, bytes)
  end
end

-- A session whose end passed unnoticed. It is written down when it leaves its user's list, lest a clock that goes back
-- find it alive and in no list.
local function bury_as_over(key, record)
  bury(key, record, record.ends < record.absolute and 'idle' or 'absolute', record.ends, '-', '')
end
