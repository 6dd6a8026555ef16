
-- Adds a message to the conversation of a live demo session. The record is not written.
--
-- KEYS  1 the record  2 its messages
-- ARGV  1 not-after  2 the message's id  3 its fields, JSON without the opening brace  4 when it was said, or ''
--       5 '1': it may have been sent before  6 the most messages  7 the most bytes  8 how many bytes it has
-- Gives added, at, count | full | over, now, bytes | absent | malformed | late
--
-- One script, since the next message's place, instant and sum follow from the last one's, and since whoever ends or
-- renames the session must come wholly before or wholly after.
--
-- Its first write is the one that an out-of-memory server refuses.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key, list = KEYS[1], KEYS[2]
local bytes = get(key)
if not bytes then
  return { 'absent' }
end
local record = read(bytes)
if not record then
  return { 'malformed' }
end
if record.ends <= now then
  return { 'over', num(now), bytes }
end
local length = redis.pcall('LLEN', list)
if type(length) == 'table' then
  return string.find(length.err, 'WRONGTYPE', 1, true) and { 'malformed' } or length
end

local count, last, total = conversation(list)
if ARGV[5] == '1' then
  local at = said(list)[ARGV[2]]
  if at then
    return { 'added', at, num(count) }
  end
end
total = total + tonumber(ARGV[8])
if count >= tonumber(ARGV[6]) or total > tonumber(ARGV[7]) then
  return { 'full' }
end
local at = now
if ARGV[4] ~= '' and tonumber(ARGV[4]) < now then at = tonumber(ARGV[4]) end
if at < last then at = last end
redis.call('RPUSH', list, '{"id":"' .. ARGV[2] .. '","at":' .. num(at) .. ',"total":' .. num(total) .. ',' .. ARGV[3])
keep_messages(list, record)
return { 'added', num(at), num(count + 1) }
