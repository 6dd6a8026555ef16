
-- Beats: leaves a number that shows whether this server takes writes, went back in time, or came back empty.
--
-- KEYS  1 the beat
-- ARGV  1 not-after  2 its generation if there is none, 16 hexadecimal digits  3 the number will be more than this
-- Gives beat, generation, number before ('': there was none), number | late
--
-- One script, since of two that beat at the same time one must find what the other left.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key = KEYS[1]
local there = get(key)
local generation, before = string.match(there or '', '^(%x+):(%d+)$')
-- A Lua number holds 15 digits.
if not generation or #generation ~= 16 or #before > 15 then
  generation, before = ARGV[2], nil
end
local number = math.max(tonumber(before or '0'), tonumber(ARGV[3])) + 1
local kept = ms(now + 2592000000000)
-- A write that a server without memory allows; after it, the other is allowed as well: such a server is not away. What
-- is there is not deleted: in a slot that is on its way nothing can be written in its place.
if there then
  redis.call('PEXPIREAT', key, kept)
else
  redis.call('DEL', key)
end
redis.call('SET', key, generation .. ':' .. num(number), 'PXAT', kept)
return { 'beat', generation, before or '', num(number) }
