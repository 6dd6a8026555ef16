
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
      if record and record.ends > now then
        local signed_in = tonumber(string.match(record.parts.m, '^%d+ %S+ %d+ (%S+)'))
        live[#live + 1] = { digest = digest, record = record, signed_in = record.created + (signed_in or -record.created) }
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
      if a.signed_in ~= b.signed_in then return a.signed_in < b.signed_in end
      if a.record.created ~= b.record.created then return a.record.created < b.record.created end
      return a.digest < b.digest
    end)
    for n = 1, over do
      live[n].limit = true
      plan[#plan + 1] = live[n]
    end
  end
  return plan
end

-- Carries the plan out. Adds the handles of the sessions that the limit ended to `reply`. `events`: the user's history.
local function make_room(plan, now, index, prefix, reply, events)
  for _, leaving in ipairs(plan) do
    redis.call('ZREM', index, leaving.digest)
    if leaving.limit then
      bury(prefix .. leaving.digest, leaving.record, 'limit', now, '-', '')
      happened(events, now, 'ended limit', leaving.record, '')
      reply[#reply + 1] = handle_of(leaving.record)
    elseif leaving.record then
      bury_as_over(prefix .. leaving.digest, leaving.record)
    end
  end
end

-- The index lives as long as any of its sessions: its expiry only moves on.
local function keep_index(index, now, until_)
  local left = redis.call('PTTL', index)
  if left < 0 or now + left * 1000 < until_ then
    redis.call('PEXPIREAT', index, ms(until_))
  end
end
