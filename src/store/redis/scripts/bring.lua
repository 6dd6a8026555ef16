
-- Brings a session of another system here.
--
-- KEYS  1 the old key  2 the pointer  3 the record; of a user's session also 4 the index  5 the user's `since`; of a
--       demo with messages also 4 their list, and 5 where they wait, if they do; of a large one the last two are the copy
--       of what was read, and a key to compare it in
-- ARGV  1 not-after  2 what was read under the old key, if that is not large  3 '1': the old key stays  4 the pointer
--       5 until when that is kept, ms  6 the record  7 kept until, ms  8 its end  9 when it was made, if it has a user
--       10 until when the index is kept, ms  11 the most sessions of a user
--       12 how many messages wait  13 '1': it is large  14 … the messages, five hundred at most, if none waits
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
-- A large one does not come here at all: a text of 4 MiB takes Lua longer than all else together.
local is_large = ARGV[13] == '1'
local there = redis.call('MGET', is_large and key or old_key, pointer_key, key, index and KEYS[5] or key)
local old, pointer, since = there[1], there[2], index and there[4]
if pointer and there[3] == ARGV[6] then
  -- Sent twice: it was this very command that brought it.
  return { 'migrated' }
end
local copy, scratch = KEYS[#KEYS - 1], KEYS[#KEYS]
if is_large then
  old = redis.call('TYPE', old_key).ok == 'string'
end
if not old then
  return { pointer and 'already' or 'gone' }
end
if is_large then
  if redis.call('STRLEN', old_key) ~= redis.call('STRLEN', copy) then
    return { 'changed' }
  end
  redis.call('BITOP', 'XOR', scratch, old_key, copy)
  local differs = redis.call('BITPOS', scratch, 1) ~= -1
  redis.call('UNLINK', scratch)
  if differs then
    return { 'changed' }
  end
elseif old ~= ARGV[2] then
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
local staged = tonumber(ARGV[12])
if staged > 0 and redis.call('LLEN', KEYS[5]) ~= staged then
  -- They have waited too long.
  return { 'changed' }
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
if staged > 0 then
  redis.call('RENAME', KEYS[5], KEYS[4])
elseif #ARGV > 13 then
  -- What is left there of one that was deleted by hand is none of its messages.
  redis.call('UNLINK', KEYS[4])
  redis.call('RPUSH', KEYS[4], unpack(ARGV, 14))
end
if staged > 0 or #ARGV > 13 then
  redis.call('PEXPIREAT', KEYS[4], ARGV[7])
end
redis.call('SET', pointer_key, ARGV[4], 'PXAT', ARGV[5])
if ARGV[3] ~= '1' then
  redis.call('UNLINK', old_key)
end
return { 'migrated' }
