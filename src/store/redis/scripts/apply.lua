
-- Changes values, and what a touch changes, of a live session: all of it or nothing.
--
-- KEYS  1 the record
-- ARGV  1 not-after  2 what a user's index begins with ('': there is none)  3 the most bytes that a record may grow to
--       4 seen at ('': no touch)  5 address  6 agent  7 '1': clear  8 how many names stay at a clear, n
--       9 … those names, then for each change: name, guard ('*' none, '=' unchanged, '-' absent), what was read,
--       what to do ('set', 'remove', 'add'), with what
-- Gives saved, sum | over, now, bytes | absent | malformed | conflict | no_integer | too_large | late
--
-- One script, since what is changed was checked before: it exists, is not over, is listed, and is what was read. The
-- index is derived from the record: same tag, same slot.

local now = clock()
if now > tonumber(ARGV[1]) then
  return { 'late' }
end
local key = KEYS[1]
local bytes = get(key)
if not bytes then
  return { 'absent' }
end
local record = read(bytes)
if not record then
  return { 'malformed' }
end
if not is_live(record, now) then
  return { 'over', num(now), bytes }
end
local digest = string.sub(key, -43)
local index
if record.user ~= '' and ARGV[2] ~= '' then
  index = ARGV[2] .. record.user
  if not redis.call('ZSCORE', index, digest) then
    really_absent(key, index)
    return { 'absent' }
  end
end

-- The sum of two integers of 64 bits, as texts; nil where one is none, or the sum does not fit. A Lua number holds 53
-- bits, so each is taken apart: high * 10^10 + low.
local function add(a, b)
  local function split(text)
    local sign, digits = string.match(text, '^[ \t\r\n]*(%-?)(%d+)[ \t\r\n]*$')
    if not digits or #digits > 19 or (#digits > 1 and string.sub(digits, 1, 1) == '0') or sign .. digits == '-0' then
      return nil
    end
    local high, low = tonumber(string.sub(digits, 1, -11)) or 0, tonumber(string.sub(digits, -10))
    if sign == '-' then return -high, -low end
    return high, low
  end
  local function fits(high, low)
    local negative = high < 0 or low < 0
    high, low = math.abs(high), math.abs(low)
    return high < 922337203 or (high == 922337203 and low <= (negative and 6854775808 or 6854775807))
  end
  local ah, al = split(a)
  local bh, bl = split(b)
  if not ah or not bh or not fits(ah, al) then
    return nil
  end
  local high, low = ah + bh, al + bl
  if low >= 10000000000 then high, low = high + 1, low - 10000000000 end
  if low <= -10000000000 then high, low = high - 1, low + 10000000000 end
  if high > 0 and low < 0 then high, low = high - 1, low + 10000000000 end
  if high < 0 and low > 0 then high, low = high + 1, low - 10000000000 end
  if not fits(high, low) then
    return nil
  end
  local sign = (high < 0 or low < 0) and '-' or ''
  if high == 0 then
    return sign .. num(math.abs(low))
  end
  return sign .. num(math.abs(high)) .. string.format('%010.0f', math.abs(low))
end

local parts = record.parts
local stays, next_arg = {}, 9
for _ = 1, tonumber(ARGV[8]) do
  stays[ARGV[next_arg]] = true
  next_arg = next_arg + 1
end
local clears = ARGV[7] == '1'
local changes = clears or next_arg <= #ARGV

local set, sum = {}, ''
for at = next_arg, #ARGV, 5 do
  local name, guard, was, op, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local current = parts['d:' .. name]
  if clears and not stays[name] then current = nil end
  if (guard == '=' and current ~= was) or (guard == '-' and current ~= nil) then
    return { 'conflict' }
  end
  if op == 'set' then
    set['d:' .. name] = value
  elseif op == 'remove' then
    set['d:' .. name] = false
  else
    local total = add(current or '0', value)
    if not total then
      return { 'no_integer' }
    end
    set['d:' .. name] = total
    if sum == '' then sum = total end
  end
end
if clears then
  for name in pairs(parts) do
    if string.sub(name, 1, 2) == 'd:' and not stays[string.sub(name, 3)] then parts[name] = nil end
  end
end
for name, value in pairs(set) do
  parts[name] = value or nil
end
local touched = saw(record, ARGV[4], ARGV[5], ARGV[6])
local packed = cmsgpack.pack(parts)
-- What a lowered limit no longer allows goes on living, and may shrink.
if changes and #packed > #bytes and #packed > tonumber(ARGV[3]) then
  return { 'too_large' }
end

local kept = ms(kept_until(record))
-- A write that a server without memory allows; after it, the others are allowed as well.
redis.call('PEXPIREAT', key, kept)
redis.call('SET', key, packed, 'PXAT', kept)
if index and touched then
  -- XX: it must not come back into a list that it was taken out of.
  redis.call('ZADD', index, 'XX', num(ends(record)), digest)
end
return { 'saved', sum }
