
-- Brings a session of another system here.
--
-- KEYS  1 the old key  2 the pointer  3 the record; of a user's session also 4 the index  5 the user's `since`; of a
--       demo with messages also 4 their list
-- ARGV  1 not-after  2 what was read under the old key  3 '1': the old key stays  4 the pointer
--       5 until when that is kept, ms  6 the record  7 kept until, ms  8 its end  9 when it was made, if it has a user
--       10 until when the index is kept  11 the most sessions of a user
--       12 … the messages
-- Gives migrated | already | written | changed | gone | refused | at_limit | exists | late
--
-- One script, so that there is no instant at which a session is in both places or in neither, whenever whoever migrates
-- dies, and whatever the old system does meanwhile. Its keys are in several slots: it is for one server.
--
-- The pointer stays as long as anything of the old session may: a session that was migrated once is never made again.
--
-- Its first write is the one that an out-of-memory server refuses.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local old_key, pointer_key, key = KEYS[1], KEYS[2], KEYS[3]
local old = get(old_key)
local pointer = get(pointer_key)
if not old then
  return { pointer and 'already' or 'gone' }
end
if old ~= ARGV[2] then
  return { 'changed' }
end
if pointer then
  if string.sub(pointer, -16) ~= string.sub(ARGV[4], -16) then
    return { 'written' }
  end
  if ARGV[3] ~= '1' then
    redis.call('UNLINK', old_key)
  else
    local left = redis.call('PTTL', old_key)
    if left > 0 and redis.call('PTTL', pointer_key) < left + 7200000 then
      redis.call('PEXPIRE', pointer_key, left + 7200000)
    end
  end
  return { 'already' }
end
if get(key) then
  return { 'exists' }
end
local index = ARGV[9] ~= '' and KEYS[4] or nil
if index then
  local since = redis.call('GET', KEYS[5])
  if since and tonumber(ARGV[9]) < tonumber(since) then
    return { 'refused' }
  end
  if redis.call('ZCARD', index) >= tonumber(ARGV[11]) then
    return { 'at_limit' }
  end
end

redis.call('SET', key, ARGV[6], 'PXAT', ARGV[7])
if index then
  redis.call('ZADD', index, ARGV[8], string.sub(key, -43))
  local left = redis.call('PTTL', index)
  if left < 0 or now + left * 1000 < tonumber(ARGV[10]) then
    redis.call('PEXPIREAT', index, ms(ARGV[10]))
  end
end
-- A thousand at a time: more than some thousand arguments a Lua call does not take.
for at = 12, #ARGV, 1000 do
  redis.call('RPUSH', KEYS[4], unpack(ARGV, at, math.min(at + 999, #ARGV)))
  redis.call('PEXPIREAT', KEYS[4], ARGV[7])
end
redis.call('SET', pointer_key, ARGV[4], 'PXAT', ARGV[5])
if ARGV[3] ~= '1' then
  redis.call('UNLINK', old_key)
end
return { 'migrated' }
