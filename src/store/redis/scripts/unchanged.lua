-- Changes values, and what a touch changes, of a live session: all of it or nothing.
--
-- KEYS  1 the record; if what was read is given and is a user's, also 2 the index
-- ARGV  1 what is asked, in one: see apply.lua; if what was read is given, also
--       2 before this instant, which is neither late nor past its end  3 the record as it was read
--       4 the record after the changes; if its end moves, also  5 until when that is kept, ms  6 its end
-- Gives 1: done, and nothing had changed | saved, sum | over, now, bytes | absent | malformed | conflict | no_integer
--       | too_large | late
--
-- One script, since what is changed was checked before: it exists, is not over, is listed, and is what was read. The
-- index is derived from the record: same tag, same slot.
--
-- Where nothing has changed since the record was read, which is nearly always, what it becomes was worked out by whoever
-- read it, and nothing is taken apart here: that is a third of the time. It comes first, for the functions below cost
-- time too; so does every argument, which is why there are few. A place in the list is asked for, and not the score, which
-- the server would write out as text.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key, list, after = KEYS[1], KEYS[2], ARGV[4]
if after and now < tonumber(ARGV[2]) and redis.pcall('GET', key) == ARGV[3]
  and (not list or redis.call('ZRANK', list, string.sub(key, -43))) then
  local done
  if ARGV[5] then
    done = redis.pcall('SET', key, after, 'PXAT', ARGV[5])
  else
    done = redis.pcall('SET', key, after, 'KEEPTTL')
  end
  if done.ok then
    if list and ARGV[6] then
      -- XX: it must not come back into a list that it was taken out of.
      redis.call('ZADD', list, 'XX', ARGV[6], string.sub(key, -43))
    end
    return 1
  end
end

