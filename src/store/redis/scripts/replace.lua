
-- Gives a live session a new id, in the same slot.
--
-- KEYS  1 the record  2 the record under the new id; of a demo session also 3 its messages  4 those under the new id
-- ARGV  1 not-after  2 what a user's index begins with ('': there is none)  3 what a user's `since` begins with
--       4 'same' (the same session), 'renew' (signed in anew), 'sign_in' (another session of the same user), 'adopt' (a
--       user's from now on)
--       5 seen  6 when the sign-in or its request began, the earlier
--       7 renew: signed in at; adopt: the user  8 renew: absolute end
--       9 sign_in: the new record  10 sign_in: the most bytes that it may have  11 limit
--       12 … sign_in: names of values that cross unless the new record has them
-- Gives replaced, bytes, handles that the limit ended, or of a demo session its messages… | done, now, bytes, messages… | over, now, bytes | absent | malformed
--       | refused | exists | too_large | late
--
-- One script, since at no instant may both ids open the session, nor neither, nor may it be in its user's list twice.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local function with_messages(reply, list)
  for _, text in ipairs(list and redis.call('LRANGE', list, 0, -1) or {}) do
    reply[#reply + 1] = text
  end
  return reply
end

local key, new_key = KEYS[1], KEYS[2]
local digest, new_digest = string.sub(key, -43), string.sub(new_key, -43)
local bytes = get(key)
if not bytes then
  return { 'absent' }
end
local record = read(bytes)
if not record then
  return { 'malformed' }
end
if record.tombstone then
  local reason, _, _, successor = string.match(record.tombstone, '^(%S+) (%S+) (%S+) (%S+)')
  -- Sent twice: it was this very step that superseded the id.
  if reason == 'regenerated' and successor == new_digest then
    return with_messages({ 'done', num(now), get(new_key) or '' }, KEYS[4])
  end
end
if record.ends <= now then
  return { 'over', num(now), bytes }
end

local mode = ARGV[4]
local index
if record.user ~= '' and ARGV[2] ~= '' then
  index = ARGV[2] .. record.user
  if not redis.call('ZSCORE', index, digest) then
    really_absent(key, index)
    return { 'absent' }
  end
  if mode == 'renew' or mode == 'sign_in' then
    local since_key = ARGV[3] .. record.user
    local since = redis.call('GET', since_key)
    if not since then
      really_absent(key, since_key)
    elseif tonumber(ARGV[6]) < tonumber(since) then
      return { 'refused' }
    end
  end
end
if redis.call('EXISTS', new_key) == 1 then
  return { 'exists' }
end

local next_record = record
if mode == 'sign_in' then
  next_record = read(ARGV[9])
  for at = 12, #ARGV do
    local name = 'd:' .. ARGV[at]
    if next_record.parts[name] == nil then
      next_record.parts[name] = record.parts[name]
    end
  end
else
  saw(record, ARGV[5])
  if mode == 'adopt' then
    local before, after = string.match(record.parts.m, '^(%d+ %S+ %d+ %S+ %S+ %d+ %d+ %d+) (.*)$')
    local len, rest = string.match(after, '^(%d+) (.*)$')
    record.user = ARGV[7]
    record.parts.m = before .. ' ' .. #record.user .. ' ' .. record.user .. string.sub(rest, len + 1)
  end
  if mode == 'renew' then
    local before, after = string.match(record.parts.m, '^(%d+ %S+ %d+) %S+ %S+(.*)$')
    record.absolute = tonumber(ARGV[8])
    record.parts.m = before .. ' ' .. num(ARGV[7] - record.created) .. ' ' .. num(record.absolute - record.created) .. after
    settle(record)
  end
end
local packed = cmsgpack.pack(next_record.parts)
if mode == 'sign_in' and #packed > tonumber(ARGV[10]) then
  return { 'too_large' }
end
local prefix = string.sub(key, 1, -44)
local events = index and history_of(index, key)
local plan = {}
if index and mode == 'sign_in' then
  -- It never refuses: the session that is replaced makes the room.
  plan = plan_room(now, index, prefix, tonumber(ARGV[11]), false, digest)
end

bury(key, record, 'regenerated', now, new_digest, '')
redis.call('SET', new_key, packed, 'PXAT', kept_until(next_record))
local reply = { 'replaced', packed }
if KEYS[4] and redis.call('EXISTS', KEYS[3]) == 1 then
  -- Its expiry goes along.
  redis.call('RENAME', KEYS[3], KEYS[4])
end
with_messages(reply, KEYS[4])
if index then
  redis.call('ZADD', index, num(next_record.ends), new_digest)
  redis.call('ZREM', index, digest)
  keep_index(index, now, next_record.absolute + 7200000000)
  make_room(plan, now, index, prefix, reply, events)
  if mode == 'sign_in' then
    happened(events, now, 'ended regenerated', record, '')
    happened(events, now, 'signed_in -', next_record, '')
  else
    happened(events, now, mode == 'renew' and 'reauthenticated -' or 'regenerated -', next_record, '')
  end
end
return reply
