-- What a budget's period has cost, and what is set aside for requests in flight: a hash of books and the sum that each has,
-- which only grows, and a hash of gateways and what each has set aside, which counts as long as the gateway is there.
-- KEYS: the two hashes, the set of gateways. ARGV: books, their sum, how long the first hash is kept (s; 0: for ever),
-- gateway, what it has set aside, how long the second hash is kept (s), what it wants to set aside for a request that may
-- start only if nothing is set aside elsewhere.
-- Reply: what others have set aside, whether that request may start (1), then the sums of all books.
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '-1')
if tonumber(ARGV[2]) > known then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if ARGV[3] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
local there = {}
for _, who in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do there[who] = true end
local others = 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[4] then
    if there[all[i]] then
      others = others + tonumber(all[i + 1])
    else
      redis.call('HDEL', KEYS[2], all[i])
    end
  end
end
local alone = others == 0 and tonumber(ARGV[7]) > 0
local aside = tonumber(ARGV[5])
if alone then aside = math.max(aside, tonumber(ARGV[7])) end
redis.call('HSET', KEYS[2], ARGV[4], string.format('%.0f', aside))
redis.call('EXPIRE', KEYS[2], ARGV[6])
local reply = redis.call('HVALS', KEYS[1])
table.insert(reply, 1, string.format('%.0f', others))
table.insert(reply, 2, alone and '1' or '0')
return reply
