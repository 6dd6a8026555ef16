
-- Something has changed since, or nobody had read it.
--
-- asked 1 not-after  2 what a user's index begins with ('': there is none)  3 the most bytes that a record may grow to
--       4 seen, or '': no touch  5 false: no clear; else the names that stay at one
--       6 … for each change: name, what to do ('set', 'remove', 'add') with its condition behind it ('=' unchanged,
--       '-' absent), with what, what was read

local asked = cmsgpack.unpack(ARGV[1])
if now > asked[1] then
  return { 'late' }
end
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
local digest = string.sub(key, -43)
local index
if record.user ~= '' and asked[2] ~= '' then
  index = asked[2] .. record.user
  if not redis.call('ZSCORE', index, digest) then
    really_absent(key, index)
    return { 'absent' }
  end
end

local parts = record.parts
local stays
if asked[5] then
  stays = {}
  for _, name in ipairs(asked[5]) do
    stays[name] = true
  end
end

local set, sum = {}, ''
for at = 6, #asked, 4 do
  local name, op, value = asked[at], asked[at + 1], asked[at + 2]
  local part = 'd:' .. name
  local current = parts[part]
  if stays and not stays[name] then current = nil end
  local condition = string.sub(op, -1)
  if (condition == '=' and current ~= asked[at + 3]) or (condition == '-' and current ~= nil) then
    return { 'conflict' }
  end
  local what = string.sub(op, 1, 1)
  if what == 's' then
    set[part] = value
  elseif what == 'r' then
    set[part] = false
  else
    local total = add(current or '0', value)
    if not total then
      return { 'no_integer' }
    end
    set[part] = total
    if sum == '' then sum = total end
  end
end
if stays then
  for part in pairs(parts) do
    if string.sub(part, 1, 2) == 'd:' and not stays[string.sub(part, 3)] then parts[part] = nil end
  end
end
for part, value in pairs(set) do
  parts[part] = value or nil
end
local touched = asked[4] ~= '' and saw(record, asked[4])
local packed = cmsgpack.pack(parts)
-- What a lowered limit no longer allows goes on living, and may shrink.
if (stays or #asked > 5) and #packed > #bytes and #packed > asked[3] then
  return { 'too_large' }
end

if not touched then
  local done = redis.pcall('SET', key, packed, 'KEEPTTL')
  if done.ok then
    return { 'saved', sum }
  end
end
local kept = kept_until(record)
-- A server without memory refuses the first write of a script, unless it is one of those that take none.
redis.call('PEXPIREAT', key, kept)
redis.call('SET', key, packed, 'PXAT', kept)
if index and touched then
  -- XX: it must not come back into a list that it was taken out of.
  redis.call('ZADD', index, 'XX', num(record.ends), digest)
end
return { 'saved', sum }
