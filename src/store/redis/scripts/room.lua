
-- Plans what has to leave a user's list so that one more session fits: those that are over, and at the limit the ones
-- that signed in longest ago. nil: the limit refuses. `except` is the session that is being replaced; it does not count.
local function plan_room(now, index, prefix, limit, refuses, except)
  local full = redis.call('ZCARD', index) >= limit
  local digests
  if full then
    digests = redis.call('ZRANGE', index, 0, -1)
  else
    -- Some of those that are over; the others' turn comes.
    digests = redis.call('ZRANGEBYSCORE', index, '-inf', num(now), 'LIMIT', 0, 100)
  end
  local plan, live = {}, {}
  for _, digest in ipairs(digests) do
    if digest ~= except then
      local bytes = get(prefix .. digest)
      if not bytes then
        really_absent(index, prefix .. digest)
      end
      local record = bytes and read(bytes) or nil
      if is_live(record, now) then
        live[#live + 1] = { digest = digest, record = record }
      else
        if record and record.tombstone then record = nil end
        plan[#plan + 1] = { digest = digest, record = record }
      end
    end
  end
  local over = #live + 1 - limit
  if full and over > 0 then
    if refuses then
      return nil
    end
    table.sort(live, function(a, b)
      local ra, rb = a.record, b.record
      if ra.signed_in ~= rb.signed_in then return ra.signed_in < rb.signed_in end
      if ra.created ~= rb.created then return ra.created < rb.created end
      return a.digest < b.digest
    end)
    for n = 1, over do
      live[n].limit = true
      plan[#plan + 1] = live[n]
    end
  end
  return plan
end

-- Carries the plan out. Adds the handles of the sessions that the limit ended to `reply`.
local function make_room(plan, now, index, prefix, reply)
  for _, leaving in ipairs(plan) do
    redis.call('ZREM', index, leaving.digest)
    if leaving.limit then
      bury(prefix .. leaving.digest, leaving.record.handle, 'limit', now, '-', '')
      reply[#reply + 1] = leaving.record.handle
    elseif leaving.record then
      bury_as_over(prefix .. leaving.digest, leaving.record)
    end
  end
end
