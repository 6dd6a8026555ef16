
-- Brings a session of another system here.
--
-- KEYS  1 the old key  2 the pointer  3 the record; of a user's session also 4 the index  5 the user's `since`; of a
--       demo with messages also 4 their list
-- ARGV  1 not-after  2 what was read under the old key  3 '1': the old key stays  4 the pointer
--       5 until when that is kept, ms  6 the record  7 kept until, ms  8 its end  9 when it was made, if it has a user
--       10 until when the index is kept, ms  11 the most sessions of a user
--       12 … the messages
-- Gives migrated | already | written | changed | gone | refused | at_limit | exists | late
--
-- One script, so that there is no instant at which a session is in both places or in neither, whenever whoever migrates
-- dies, and whatever the old system does meanwhile. Its keys are in several slots: it is for one server.
--
-- The pointer stays as long as anything of the old session may: a session that was migrated once is never made again.
--
-- Its first write is the one that an out-of-memory server refuses. It has nothing of what the other scripts share: it runs
-- a million times.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local old_key, pointer_key, key, index = KEYS[1], KEYS[2], KEYS[3], nil
if ARGV[9] ~= '' then index = KEYS[4] end
-- What is of another type is absent here; nothing of ours is.
local there = redis.call('MGET', old_key, pointer_key, key, index and KEYS[5] or key)
local old, pointer, since = there[1], there[2], index and there[4]
if pointer and there[3] == ARGV[6] then
  -- Sent twice: it was this very command that brought it.
  return { 'migrated' }
end
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
if there[3] then
  return { 'exists' }
end
local listed = 0
if index then
  if since and tonumber(ARGV[9]) < tonumber(since) then
    return { 'refused' }
  end
  listed = redis.call('ZCARD', index)
  if listed >= tonumber(ARGV[11]) then
    return { 'at_limit' }
  end
end

redis.call('SET', key, ARGV[6], 'PXAT', ARGV[7])
if index then
  redis.call('ZADD', index, ARGV[8], string.sub(key, -43))
  -- The index lives as long as any of its sessions.
  if listed == 0 or now / 1000 + redis.call('PTTL', index) < tonumber(ARGV[10]) then
    redis.call('PEXPIREAT', index, ARGV[10])
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
