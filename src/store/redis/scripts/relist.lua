
-- Puts a user's live session back into their list, if it is not there, and gives a record an expiry that has none.
--
-- KEYS  1 the record; of a user's session also 2 the index  3 the user's `since`  4 their
--       history
-- ARGV  1 not-after
-- Gives fine | listed | expiry | ended | none | late
--
-- One script, since a session that ends meanwhile must not come back into the list, and since one from before all of its
-- user's were ended must not come into it at all: it ends.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key, index = KEYS[1], KEYS[2]
local bytes = get(key)
local record = bytes and read(bytes) or nil
if not record then
  return { 'none' }
end
if redis.call('PTTL', key) == -1 then
  redis.call('PEXPIREAT', key, record.tombstone and ms(now + 86400000000) or kept_until(record))
  if not index or record.ends <= now then
    return { 'expiry' }
  end
end
if not index or record.ends <= now then
  return { 'none' }
end
local digest = string.sub(key, -43)
if redis.call('ZSCORE', index, digest) then
  return { 'fine' }
end
local since = redis.call('GET', KEYS[3])
local signed_in = tonumber(string.match(record.parts.m, '^%d+ %S+ %d+ (%S+)')) or 0
if since and record.created + signed_in < tonumber(since) then
  bury(key, record, 'revoked', now, '-', '')
  happened(KEYS[4], now, 'ended revoked', record, '')
  return { 'ended' }
end
local left, until_ = redis.call('PTTL', index), record.absolute + 7200000000
redis.call('ZADD', index, num(record.ends), digest)
-- A list that has no expiry gets one, and is counted, when its turn comes.
if left ~= -1 and now + left * 1000 < until_ then
  redis.call('PEXPIREAT', index, ms(until_))
end
return { 'listed' }
