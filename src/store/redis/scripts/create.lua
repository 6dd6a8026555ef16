
-- Makes a session; for a user's, in their list and within their limit.
--
-- KEYS  1 the record; for a user's session also 2 the index, 3 the user's `since`, 4 their history
-- ARGV  1 not-after  2 the record  3 kept until, ms  4 its end  5 when the sign-in or its request began, the earlier
--       6 until when the index is kept, ms  7 limit  8 '1': the limit refuses
--       9 the line that the history gets
-- Gives created, handles that the limit ended… | there, bytes | refused | at_limit | late
--
-- One script, since between counting a user's sessions and adding one no other may be added, and since whoever ends all
-- of them must come wholly before or wholly after.
--
-- Its first write is the one that an out-of-memory server refuses.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key = KEYS[1]
local there = get(key)
if there then
  return { 'there', there }
end
if #KEYS == 1 then
  redis.call('SET', key, ARGV[2], 'PXAT', ARGV[3])
  return { 'created' }
end

local index = KEYS[2]
local since = redis.call('GET', KEYS[3])
if since and tonumber(ARGV[5]) < tonumber(since) then
  return { 'refused' }
end
local prefix = string.sub(key, 1, -44)
local plan = plan_room(now, index, prefix, tonumber(ARGV[7]), ARGV[8] == '1', nil)
if not plan then
  return { 'at_limit' }
end

redis.call('SET', key, ARGV[2], 'PXAT', ARGV[3])
redis.call('ZADD', index, ARGV[4], string.sub(key, -43))
keep_index(index, now, ARGV[6] * 1000)
local reply = { 'created' }
make_room(plan, now, index, prefix, reply, KEYS[4])
remember(KEYS[4], ARGV[9], now)
return reply
