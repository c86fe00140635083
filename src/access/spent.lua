-- What a budget's period has cost: a hash of books and the sum that each has. Sums only grow.
-- KEYS: the hash. ARGV: books, their sum, how long the hash is kept (s; 0: for ever).
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '-1')
if tonumber(ARGV[2]) > known then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if ARGV[3] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HVALS', KEYS[1])
