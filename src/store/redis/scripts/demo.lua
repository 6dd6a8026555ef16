-- Reads a demo session with its conversation.
--
-- KEYS  1 the record  2 its messages
-- Gives the record's bytes and behind them the messages | nothing, where there is none | '', where something else stands
--
-- One script, since a new id takes the messages along: read one after the other, they could be missed.

local bytes, messages = redis.pcall('GET', KEYS[1]), redis.pcall('LRANGE', KEYS[2], 0, -1)
if not bytes then
  return {}
end
for _, reply in ipairs({ bytes, messages }) do
  if type(reply) == 'table' and reply.err then
    return string.find(reply.err, 'WRONGTYPE', 1, true) and { '' } or reply
  end
end
table.insert(messages, 1, bytes)
return messages
