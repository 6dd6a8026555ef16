
-- Deletes a conversation whose demo is gone, and gives one an expiry that has none.
--
-- KEYS  1 the messages  2 the record
-- ARGV  1 not-after
-- Gives deleted | expiry | fine | late
--
-- One script, since the demo may be made, or get a new id, after it was looked for: its messages then come with it.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local list, bytes = KEYS[1], get(KEYS[2])
local record = bytes and read(bytes) or nil
if type(redis.pcall('LLEN', list)) == 'table' then
  -- Of another type, and nobody's messages.
  return { 'fine' }
end
if not bytes or record and record.tombstone then
  return { redis.call('UNLINK', list) == 1 and 'deleted' or 'fine' }
end
if redis.call('PTTL', list) ~= -1 then
  return { 'fine' }
end
if record then
  keep_messages(list, record)
else
  -- Nobody can read what stands there, and so nobody can say for how long.
  redis.call('PEXPIREAT', list, ms(now + 86400000000))
end
return { 'expiry' }
