
-- Ends one session, whatever its kind.
--
-- KEYS  1 the record; if it may be a demo session's 2 its messages
-- ARGV  1 not-after  2 what a user's index begins with ('': there is none)  3 reason  4 successor ('-': none)  5 note
--       6 '1': where nothing stands, a tombstone keeps out what comes later
-- Gives ended, now, bytes as last stored | nothing, now | malformed, now | late
--
-- One script, since it leaves its user's list with its end, and since a change in between would be lost to whoever takes
-- values along.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key = KEYS[1]
local bytes = get(key)
if not bytes then
  if ARGV[6] == '1' then
    bury(key, nil, ARGV[3], now, ARGV[4], ARGV[5])
  end
  return { 'nothing', num(now) }
end
local record = read(bytes)
if not record then
  return { 'malformed', num(now) }
end
if record.ends <= now then
  return { 'nothing', num(now) }
end
local index
if record.user ~= '' and ARGV[2] ~= '' then
  index = ARGV[2] .. record.user
  if not redis.call('ZSCORE', index, string.sub(key, -43)) then
    really_absent(key, index)
  end
end

local events = index and history_of(index, key)
bury(key, record, ARGV[3], now, ARGV[4], ARGV[5])
if KEYS[2] then
  redis.call('DEL', KEYS[2])
end
if index then
  happened(events, now, 'ended ' .. ARGV[3], record, ARGV[5])
  redis.call('ZREM', index, string.sub(key, -43))
end
return { 'ended', num(now), bytes }
