-- One limit that several gateways count together. Its hash has, for each gateway, `slice:gateway` with what it let through
-- in that slice, `held:gateway` with the slice and amount of its lease, `own:gateway` with all that it was ever given, and
-- `heard:gateway` with how often gateways had joined and what had been given to others when it last heard how things
-- stand, or `*`; and `joined` and `given` for all. Whoever asks states its own amounts as they are, so that asking twice
-- changes nothing.
-- Given is what is left, and no more than others may go without knowing of, should this server go away: see `pool.rs`.
-- KEYS: the hash, the set of gateways. ARGV: gateway, its current slice, the oldest slice that counts, the limit, the
-- amount wanted, how long the hash is kept (ms), whether the gateway acts on the answer (1) or only tells (0), the lease
-- that it holds, `joined` and given to others in the last answer that it got, then pairs of slice and amount.
-- Reply: given now, gateways, whether all others know how things stand, whether this one joined with this call, what
-- others hold, `joined`, given to others, then pairs of slice and amount.
local ALONE = '*'
local key, me, current, oldest, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local function whole(number) return string.format('%.0f', number) end

for i = 11, #ARGV, 2 do
  local field = ARGV[i] .. ':' .. me
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, ARGV[i + 1])
  end
end
redis.call('HSET', key, 'held:' .. me, current .. ' ' .. ARGV[8])

local there = { [me] = true }
for _, who in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do there[who] = true end
local total, held, given, joined, own, heard, others = 0, 0, 0, 0, {}, {}, {}
local function count(field, slice, amount, who, holds)
  if tonumber(slice) < oldest then
    redis.call('HDEL', key, field)
    return
  end
  total = total + tonumber(amount)
  if who == me then return end
  if holds and there[who] then
    held = held + tonumber(amount)
  else
    others[#others + 1] = tonumber(slice)
    others[#others + 1] = tonumber(amount)
  end
end
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  local what, who = string.match(field, '^(%w+):(.*)$')
  if field == 'given' then
    given = tonumber(value)
  elseif field == 'joined' then
    joined = tonumber(value)
  elseif what == 'held' then
    local slice, amount = string.match(value, '^(%d+) (%d+)$')
    count(field, slice, amount, who, true)
  elseif what ~= 'heard' and what ~= 'own' then
    count(field, what, value, who, false)
  elseif not there[who] then
    redis.call('HDEL', key, field)
  elseif what == 'own' then
    own[who] = tonumber(value)
  else
    heard[who] = value
  end
end
redis.call('PEXPIRE', key, ARGV[6])
if ARGV[7] == '0' then
  redis.call('HSET', key, 'heard:' .. me, ALONE)
  return { 0, 1, 0, 0, 0, 0, 0 }
end

-- Whoever joins has to be known to all others before anything is given. What was given to others than the one that heard
-- of it is what that one may not know.
local joins = heard[me] == nil or heard[me] == ALONE
if joins then
  joined = joined + 1
  redis.call('HSET', key, 'joined', joined)
end
local gateways, known, behind = 1, true, 0
for who, at in pairs(heard) do
  if who ~= me then
    gateways = gateways + 1
    local when, others_given = string.match(at, '^(%d+) (%d+)$')
    if tonumber(when) == joined then
      behind = math.max(behind, given - (own[who] or 0) - tonumber(others_given))
    else
      known = false
    end
  end
end
local grant = 0
if known then
  grant = math.min(tonumber(ARGV[5]), limit - total)
  if gateways > 1 then
    grant = math.min(grant, math.ceil(limit / 8) - behind)
  end
  grant = math.max(0, grant)
end
local others_given = given - (own[me] or 0)
if grant > 0 then
  redis.call('HSET', key, 'held:' .. me, current .. ' ' .. whole(tonumber(ARGV[8]) + grant))
  redis.call('HSET', key, 'given', whole(given + grant))
  redis.call('HSET', key, 'own:' .. me, whole((own[me] or 0) + grant))
end
redis.call('HSET', key, 'heard:' .. me, ARGV[9] .. ' ' .. ARGV[10])
local reply = { grant, gateways, known and 1 or 0, joins and 1 or 0, held, joined, others_given }
for i = 1, #others do reply[#reply + 1] = others[i] end
return reply
