
-- Takes one of a number of things that somebody may have within a span of time.
--
-- KEYS  1 the count
-- ARGV  1 not-after  2 how many  3 within how long, ms
-- Gives granted | exhausted, until, ms | late
--
-- One script, since two at once must not both take the last one, and since no count may be without an expiry.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local had = tonumber(redis.call('GET', KEYS[1]) or '0')
if had >= tonumber(ARGV[2]) then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then left = tonumber(ARGV[3]) end
  return { 'exhausted', num(math.floor(now / 1000) + left) }
end
if had == 0 then
  redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
else
  redis.call('INCR', KEYS[1])
end
return { 'granted' }
