-- Every key of the database except Lockstep's own, with its whole value, independent of its encoding and order.
-- Takes no arguments, and changes nothing.
-- Replies: a flat list per key: name, type, expiry in ms, and the elements of the value in sorted order.
local function named(flat)
  local values = {}
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return values
end

local function pairsOf(flat)
  local items = {}
  for index = 1, #flat, 2 do items[#items + 1] = flat[index] .. '\0=\0' .. flat[index + 1] end
  table.sort(items)
  return items
end

local function sorted(items)
  table.sort(items)
  return items
end

local function ofStream(key)
  local items, about = redis.call('XRANGE', key, '-', '+'), named(redis.call('XINFO', 'STREAM', key))
  for _, name in ipairs({ 'last-generated-id', 'max-deleted-entry-id', 'entries-added' }) do
    items[#items + 1] = tostring(about[name])
  end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group, consumers = named(flat), {}
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, group.name)) do
      consumers[#consumers + 1] = named(consumer).name
    end
    items[#items + 1] = { group.name, group['last-delivered-id'], tostring(group['entries-read']), sorted(consumers) }
    for _, item in ipairs(redis.call('XPENDING', key, group.name, '-', '+', '1000')) do
      items[#items + 1] = { item[1], item[2], item[4] }
    end
  end
  return items
end

local readers = {
  string = function(key) return { redis.call('GET', key) } end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return sorted(redis.call('SMEMBERS', key)) end,
  hash = function(key) return pairsOf(redis.call('HGETALL', key)) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = ofStream,
}

local dump = {}
for _, key in ipairs(sorted(redis.call('KEYS', '*'))) do
  if string.sub(key, 1, 9) ~= 'lockstep:' then
    local kind = redis.call('TYPE', key).ok
    dump[#dump + 1] = { key, kind, redis.call('PEXPIRETIME', key), readers[kind](key) }
  end
end
return dump
