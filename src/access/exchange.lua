-- One limit that several gateways count together: a hash of `slice:gateway` and the amount that the gateway has let
-- through in that slice and, in its current one, holds. Whoever asks states its own amounts as they are, so that asking
-- twice changes nothing, and is granted what is left and no more.
-- KEYS: the hash. ARGV: gateway, its current slice, the oldest slice that counts, the limit, the amount wanted, how long
-- an amount counts (ms), then pairs of slice and amount.
local key, me = KEYS[1], ARGV[1]
for i = 7, #ARGV, 2 do
  local field = ARGV[i] .. ':' .. me
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, ARGV[i + 1])
  end
end
local oldest, total, reply = tonumber(ARGV[3]), 0, { 0 }
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local slice, who = string.match(all[i], '^(%d+):(.*)$')
  if tonumber(slice) < oldest then
    redis.call('HDEL', key, all[i])
  else
    total = total + tonumber(all[i + 1])
    if who ~= me then
      reply[#reply + 1] = tonumber(slice)
      reply[#reply + 1] = tonumber(all[i + 1])
    end
  end
end
local grant = math.max(0, math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) - total))
if grant > 0 then
  redis.call('HINCRBY', key, ARGV[2] .. ':' .. me, string.format('%.0f', grant))
end
redis.call('PEXPIRE', key, ARGV[6])
reply[1] = grant
return reply
