
-- Ends one of a user's sessions by its handle, or all but that one, or all.
--
-- KEYS  1 the index  2 the user's `since`
-- ARGV  1 not-after  2 what the keys of their records begin with  3 'handle', 'others', 'all'  4 handle  5 reason  6 note
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

local ending, over = {}, {}
for _, digest in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local bytes = get(prefix .. digest)
  if not bytes then
    really_absent(index, prefix .. digest)
  end
  local record = bytes and read(bytes) or nil
  if record and record.ends > now then
    if scope == 'all' or (scope == 'handle') == (handle_of(record) == handle) then
      ending[#ending + 1] = { digest = digest, record = record }
    end
  elseif scope ~= 'handle' then
    over[#over + 1] = { digest = digest, record = record }
  end
end

local reply = { 'ended', '' }
if scope ~= 'handle' then
  local from = now + 1
  if since and tonumber(since) > from then from = tonumber(since) end
  -- A write that a server without memory allows; after it, the others are allowed as well.
  redis.call('DEL', since_key)
  -- As long as any request, or any session that was made while the store was away, may be old.
  redis.call('SET', since_key, num(from), 'PXAT', ms(now + 4500000000))
  reply[2] = num(from)
end
for _, session in ipairs(ending) do
  bury(prefix .. session.digest, session.record, ARGV[5], now, '-', ARGV[6])
  redis.call('ZREM', index, session.digest)
  reply[#reply + 1] = handle_of(session.record)
end
for _, session in ipairs(over) do
  if session.record and not session.record.tombstone then
    bury_as_over(prefix .. session.digest, session.record)
  end
  redis.call('ZREM', index, session.digest)
end
return reply
