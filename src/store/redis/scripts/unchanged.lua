-- Changes values, and what a touch changes, of a live session: all of it or nothing.
--
-- KEYS  1 the record; if what was read is given and is a user's, also 2 the index
-- ARGV  1 not-after  2 the record as it was read, or ''  3 its end  4 the record after the changes
--       5 until when that is kept, ms; '': as long as before  6 its end; '': as before
--       7 what a user's index begins with ('': there is none)  8 the most bytes that a record may grow to
--       9 seen, or '': no touch  10 '': no clear; else how many names stay at one, n
--       11 … those names, then for each change: name, what to do ('set', 'remove', 'add') with its condition behind it
--       ('=' unchanged, '-' absent), with what, what was read
-- Gives same | saved, sum | over, now, bytes | absent | malformed | conflict | no_integer | too_large | late
--
-- One script, since what is changed was checked before: it exists, is not over, is listed, and is what was read. The
-- index is derived from the record: same tag, same slot.
--
-- Where nothing has changed since the record was read, which is nearly always, what it becomes was worked out by whoever
-- read it, and nothing is taken apart here: that is a third of the time. It comes first, for the functions below cost
-- time too.

local time = redis.call('TIME')
if time[1] * 1000000 + time[2] > tonumber(ARGV[1]) then
  return { 'late' }
end
if ARGV[2] ~= '' and redis.pcall('GET', KEYS[1]) == ARGV[2] and time[1] * 1000000 + time[2] < tonumber(ARGV[3])
  and (not KEYS[2] or redis.call('ZSCORE', KEYS[2], string.sub(KEYS[1], -43))) then
  local done
  if ARGV[5] == '' then
    done = redis.pcall('SET', KEYS[1], ARGV[4], 'KEEPTTL')
  else
    done = redis.pcall('SET', KEYS[1], ARGV[4], 'PXAT', ARGV[5])
  end
  if done.ok then
    if KEYS[2] and ARGV[6] ~= '' then
      -- XX: it must not come back into a list that it was taken out of.
      redis.call('ZADD', KEYS[2], 'XX', ARGV[6], string.sub(KEYS[1], -43))
    end
    return 'same'
  end
end

