
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
