
-- Makes a demo session, with the conversation that it has where it was made while Redis was away.
--
-- KEYS  1 the record  2 its messages
-- ARGV  1 not-after  2 the record  3 kept until, ms  4 its handle  5 … its messages
-- Gives created | there, bytes | late
--
-- One script, since whoever finds the session must find its conversation.
--
-- Its first write is the one that an out-of-memory server refuses.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key, list = KEYS[1], KEYS[2]
local there = get(key)
local record = read(there or ARGV[2])
if there and (not record or record.tombstone or handle_of(record) ~= ARGV[4]) then
  return { 'there', there }
end
if not there then
  redis.call('SET', key, ARGV[2], 'PXAT', ARGV[3])
end
if #ARGV > 4 then
  -- Sent before, and more was said since: those that are there stay, and the others come behind them.
  local here = said(list)
  for at = 5, #ARGV do
    if not here[string.match(ARGV[at], HEAD_OF_MESSAGE)] then
      redis.call('RPUSH', list, ARGV[at])
    end
  end
  keep_messages(list, record)
end
return there and { 'there', there } or { 'created' }
