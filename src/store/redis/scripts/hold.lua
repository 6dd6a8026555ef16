
-- Copies a large record of another system, so that it is compared here with what was read of it, and need not be sent back.
--
-- KEYS  1 the old key  2 the copy: of one attempt to bring it, and of nobody else
-- ARGV  1 not-after  2 the largest that is copied
-- Gives copied | large | gone | late
--
-- One script, since the copy must not be without its expiry: it is short, for whoever dies halfway leaves it behind.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local old, copy = KEYS[1], KEYS[2]
if redis.call('TYPE', old).ok ~= 'string' then
  return { 'gone' }
end
if redis.call('STRLEN', old) > tonumber(ARGV[2]) then
  return { 'large' }
end
redis.call('COPY', old, copy, 'REPLACE')
redis.call('PEXPIREAT', copy, ms(now + 600000000))
return { 'copied' }
