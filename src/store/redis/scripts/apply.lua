
-- Something has changed since, or nobody had read it.

local now = time[1] * 1000000 + time[2]
local key = KEYS[1]
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
if record.user ~= '' and ARGV[7] ~= '' then
  index = ARGV[7] .. record.user
  if not redis.call('ZSCORE', index, digest) then
    really_absent(key, index)
    return { 'absent' }
  end
end

local parts = record.parts
local stays, next_arg = nil, 11
if ARGV[10] ~= '' then
  stays = {}
  for _ = 1, tonumber(ARGV[10]) do
    stays[ARGV[next_arg]] = true
    next_arg = next_arg + 1
  end
end

local set, sum = {}, ''
for at = next_arg, #ARGV, 4 do
  local name, op, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local part = 'd:' .. name
  local current = parts[part]
  if stays and not stays[name] then current = nil end
  local condition = string.sub(op, -1)
  if (condition == '=' and current ~= ARGV[at + 3]) or (condition == '-' and current ~= nil) then
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
local touched = ARGV[9] ~= '' and saw(record, ARGV[9])
local packed = cmsgpack.pack(parts)
-- What a lowered limit no longer allows goes on living, and may shrink.
if #ARGV > 10 and #packed > #bytes and #packed > tonumber(ARGV[8]) then
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
