
-- Takes out of a user's list what is no live session, and gives a list an expiry that has none.
--
-- KEYS  1 the index
-- ARGV  1 not-after  2 what the keys of their records begin with  3 until when a list is kept, ms  4 … digests
-- Gives done, how many were taken out | late
--
-- One script, since one that was over when it was looked at may have been renewed since.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local index, count = KEYS[1], 0
for at = 4, #ARGV do
  local key = ARGV[2] .. ARGV[at]
  local bytes = get(key)
  if not bytes then
    really_absent(index, key)
  end
  local record = bytes and read(bytes) or nil
  if not record or record.ends <= now then
    if record and not record.tombstone then
      bury_as_over(key, record)
    end
    count = count + redis.call('ZREM', index, ARGV[at])
  end
end
if redis.call('PTTL', index) == -1 then
  redis.call('PEXPIREAT', index, ARGV[3])
end
return { 'done', num(count) }
