
-- A user's live sessions, in no order.
--
-- KEYS  1 the index
-- ARGV  1 what the keys of their records begin with
-- Gives the records
--
-- One script, since a session that changes its id between the index and its record would be missing, or there twice.

local now = clock()
local reply = {}
for _, digest in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. digest
  local bytes = get(key)
  if not bytes then
    really_absent(KEYS[1], key)
  else
    local record = read(bytes)
    if record and record.ends > now then
      reply[#reply + 1] = bytes
    end
  end
end
return reply
