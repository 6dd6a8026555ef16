
-- Writes down what a user did, as the application says.
--
-- KEYS  1 the user's activities
-- ARGV  1 not-after  2 the line  3 so many are kept, the latest  4 for so long, microseconds
-- Gives recorded | late
--
-- One script, since a list must not be without its expiry, nor longer than its bound.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local done = redis.pcall('RPUSH', KEYS[1], ARGV[2])
if type(done) == 'table' then
  -- What is of another type makes room: nobody else writes here.
  if string.find(done.err, 'WRONGTYPE', 1, true) then
    redis.call('DEL', KEYS[1])
  end
  redis.call('RPUSH', KEYS[1], ARGV[2])
end
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
redis.call('PEXPIREAT', KEYS[1], ms(now + ARGV[4]))
return { 'recorded' }
