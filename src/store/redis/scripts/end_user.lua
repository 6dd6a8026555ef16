
-- Ends one of a user's sessions by its handle, or all but that one, or all.
--
-- KEYS  1 the index  2 the user's `since`  3 their history
-- ARGV  1 not-after  2 what the keys of their records begin with  3 'handle', 'others', 'all'  4 handle  5 reason  6 note
--       7 of others and all: only those that signed in before this instant ('': all until now)
-- Gives ended, since ('': not set), handles… | late
--
-- One script, since whoever signs in must come wholly before, and is ended, or wholly after, and is told apart by
-- `since`. It looks at each session once, so it terminates however many sign in meanwhile.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local index, since_key, prefix, scope, handle = KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[4]
local since = redis.call('GET', since_key)
local before = tonumber(ARGV[7])

local function is_meant(record)
  if scope == 'handle' then
    return handle_of(record) == handle
  end
  if before then
    local signed_in = tonumber(string.match(record.parts.m, '^%d+ %S+ %d+ (%S+)'))
    if record.created + (signed_in or 0) >= before then return false end
  end
  return scope == 'all' or handle_of(record) ~= handle
end

local ending, over = {}, {}
for _, digest in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local bytes = get(prefix .. digest)
  if not bytes then
    really_absent(index, prefix .. digest)
  end
  local record = bytes and read(bytes) or nil
  if record and record.ends > now then
    if is_meant(record) then
      ending[#ending + 1] = { digest = digest, record = record }
    end
  elseif scope ~= 'handle' then
    over[#over + 1] = { digest = digest, record = record }
  end
end

local reply = { 'ended', '' }
if scope ~= 'handle' then
  local from, known = now + 1, tonumber(since)
  -- No end happened later than now, whatever the clock of whoever tells of it said.
  if before and before < from then from = before end
  -- It never goes back; but of one that no clock has reached yet, for the clock was put right since, it is known only
  -- that its end was until now.
  if known and known >= now + 5000000 then
    from = now + 1
  elseif known and known > from then
    from = known
  end
  -- As long as any request, or any session that was made while the store was away, may be old.
  local kept = ms(now + 4500000000)
  -- A write that a server without memory allows; after it, the others are allowed as well. What is there is not deleted:
  -- in a slot that is on its way nothing can be written in its place.
  if since then
    redis.call('PEXPIREAT', since_key, kept)
  else
    redis.call('DEL', since_key)
  end
  redis.call('SET', since_key, num(from), 'PXAT', kept)
  reply[2] = num(from)
end
for _, session in ipairs(ending) do
  bury(prefix .. session.digest, session.record, ARGV[5], now, '-', ARGV[6])
  redis.call('ZREM', index, session.digest)
  happened(KEYS[3], now, 'ended ' .. ARGV[5], session.record, ARGV[6])
  reply[#reply + 1] = handle_of(session.record)
end
for _, session in ipairs(over) do
  if session.record and not session.record.tombstone then
    bury_as_over(prefix .. session.digest, session.record)
  end
  redis.call('ZREM', index, session.digest)
end
return reply
