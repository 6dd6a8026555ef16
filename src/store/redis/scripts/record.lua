
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
-- What is of another type makes room: nobody else writes here.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'list' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end
redis.call('RPUSH', KEYS[1], ARGV[2])
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
redis.call('PEXPIREAT', KEYS[1], ms(now + ARGV[4]))
return { 'recorded' }
