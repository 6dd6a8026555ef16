
-- Lays some messages of a demo ready that is on its way here.
--
-- KEYS  1 the list in which they wait: of one attempt to bring this demo, and of nobody else
-- ARGV  1 not-after  2 how many wait there already  3 … the messages, five hundred at most
-- Gives waiting | lost | late
--
-- One script, since what is sent again must not be there twice, and since the list must not be without its expiry: it is
-- short, for whoever dies halfway leaves it behind.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local list, before = KEYS[1], tonumber(ARGV[2])
local length = redis.call('LLEN', list)
if length == before + #ARGV - 2 then
  -- Sent twice.
  return { 'waiting' }
end
if length ~= before then
  return { 'lost' }
end
redis.call('RPUSH', list, unpack(ARGV, 3))
redis.call('PEXPIREAT', list, ms(now + 600000000))
return { 'waiting' }
