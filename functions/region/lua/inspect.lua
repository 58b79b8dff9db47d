-- Inspects keys or locks. Changes nothing, except that expired keys may be removed, and needs no generation.
--
-- Guarantees: a digest covers the key's type, expiry and value, and is equal if these are, independent of the server's
-- encoding and order of elements. The script stops at a bound of bytes, after the key that exceeds it.
--
-- ARGV[1]: a JSON text, written by encoding.ts: ['s', cursor, count, bound], ['k', keys, bound], or ['l', count]
--  Keys have one character per byte.
--
-- Replies, one ASCII JSON text each, read by decoding.ts:
--  {"i":[[key,digest|null,incarnation,sequence]…],"n":cursor|null,"t":0|1}   sequence is -1 if there is no lock
--  {"x":text}                                                                failed
--
-- If the bound is exceeded, the last of `keys` are missing. A digest is the SHA-1 of `type|expiry|body` in hexadecimal
-- digits. The body chains hashes: each covers the hash before it and a chunk with a fixed number of elements. If
-- elements have no order, it is the sum of their hashes. Each string in it is prefixed by its length.
local UNDIGESTED = '""'
local CHUNK_BYTES, CHUNK_ELEMENTS, KEYS_AT_ONCE = 262144, 64, 16
local HALF = 16777216

local hash = redis.sha1hex
local spent = 0
-- The state of the shard here; a new one if it has none.
local region

-- Prefixes a string with its length, so that no two lists of strings give the same text.
local function sized(value)
  value = tostring(value)
  spent = spent + #value
  return #value .. ':' .. value
end

-- The sum of hashes: 96 bits of each, in four numbers, as Lua adds 53 bits exactly and some servers read only 32.
local function newSum() return { 0, 0, 0, 0, 0 } end

local function addTo(sum, ...)
  local items = { ... }
  for index, item in ipairs(items) do items[index] = sized(item) end
  local digest = hash(concat(items))
  sum[5] = sum[5] + 1
  for part = 1, 4 do
    sum[part] = (sum[part] + tonumber(sub(digest, part * 6 - 5, part * 6), 16)) % HALF
  end
end

local function totalOf(sum)
  local items = {}
  for part = 1, 5 do items[part] = whole(sum[part]) end
  return concat(items, '.')
end

local function digestText(key)
  local length, digest = must('STRLEN', key), ''
  for first = 0, math.max(0, length - 1), CHUNK_BYTES do
    digest = hash(digest .. sized(must('GETRANGE', key, whole(first), whole(first + CHUNK_BYTES - 1))))
  end
  return digest
end

local function digestList(key)
  local length, digest = must('LLEN', key), ''
  for first = 0, length - 1, CHUNK_ELEMENTS do
    local items = must('LRANGE', key, whole(first), whole(first + CHUNK_ELEMENTS - 1))
    for index, item in ipairs(items) do items[index] = sized(item) end
    digest = hash(digest .. concat(items))
  end
  return digest
end

-- Returns the score's digits, which are the same for equal numbers.
local function scoreText(score)
  local number = tonumber(score)
  if number == math.huge then return 'inf' end
  if number == -math.huge then return '-inf' end
  if number == 0 then return '0' end
  return format('%.17g', number)
end

local function digestScores(key)
  local length, sum = must('ZCARD', key), newSum()
  for first = 0, length - 1, CHUNK_ELEMENTS do
    local items = must('ZRANGE', key, whole(first), whole(first + CHUNK_ELEMENTS - 1), 'WITHSCORES')
    for index = 1, #items, 2 do addTo(sum, items[index], scoreText(items[index + 1])) end
  end
  return totalOf(sum)
end

-- A scan within one script meets every element once, as nothing changes meanwhile.
local function digestScanned(command, width)
  return function(key)
    local cursor, sum = '0', newSum()
    repeat
      local reply = must(command, key, cursor, 'COUNT', whole(CHUNK_ELEMENTS))
      cursor = reply[1]
      for index = 1, #reply[2], width do addTo(sum, unpack(reply[2], index, index + width - 1)) end
    until cursor == '0'
    return totalOf(sum)
  end
end

-- Streams ------------------------------------------------------------------------------------------------------------

local function named(flat)
  local values = {}
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return values
end

-- Chains the digests of the items that `fetch` returns from an id on; `write` turns an item into a string.
local function chain(fetch, write)
  local digest, from = '', '-'
  while true do
    local chunk, items = fetch(from), {}
    for index, item in ipairs(chunk) do items[index] = write(item) end
    if #items > 0 then digest = hash(digest .. concat(items)) end
    if #chunk < CHUNK_ELEMENTS then return digest end
    from = '(' .. chunk[#chunk][1]
  end
end

local function entryText(entry)
  local items = { sized(entry[1]) }
  for _, value in ipairs(entry[2]) do insert(items, sized(value)) end
  return sized(concat(items))
end

local function pendingText(item) return sized(item[1]) .. sized(item[2]) .. sized(whole(item[4])) end

local function digestGroup(key, flat, sum)
  local group, consumers = named(flat), {}
  for _, consumer in ipairs(must('XINFO', 'CONSUMERS', key, group.name)) do insert(consumers, named(consumer).name) end
  sortByBytes(consumers)
  for index, name in ipairs(consumers) do consumers[index] = sized(name) end
  local pending = group.pending > 0 and chain(function(from)
    return must('XPENDING', key, group.name, from, '+', whole(CHUNK_ELEMENTS))
  end, pendingText) or ''
  addTo(sum, group.name, group['last-delivered-id'], concat(consumers), pending)
end

local function digestStream(key)
  local entries = chain(function(from)
    return must('XRANGE', key, from, '+', 'COUNT', whole(CHUNK_ELEMENTS))
  end, entryText)
  local sum = newSum()
  for _, flat in ipairs(must('XINFO', 'GROUPS', key)) do digestGroup(key, flat, sum) end
  return entries .. '|' .. named(must('XINFO', 'STREAM', key))['last-generated-id'] .. '|' .. totalOf(sum)
end

-- Keys ---------------------------------------------------------------------------------------------------------------

local bodies = {
  string = digestText,
  list = digestList,
  zset = digestScores,
  hash = digestScanned('HSCAN', 2),
  set = digestScanned('SSCAN', 1),
  stream = digestStream,
}

-- Returns the digest in JSON, null if the key does not exist.
local function digestOf(key)
  local kind, expiry = must('TYPE', key).ok, must('PEXPIRETIME', key)
  if kind == 'none' or expiry == -2 then return 'null' end
  local body = bodies[kind] and bodies[kind](key) or hash(sized(must('DUMP', key)))
  return text(hash(kind .. '|' .. whole(expiry) .. '|' .. body))
end

local function found(key, digest, record)
  local incarnation, sequence = -1, -1
  if record then incarnation, sequence = orderOf(holderOf(record)) end
  return '[' .. text(key) .. ',' .. digest .. ',' .. whole(incarnation) .. ',' .. whole(sequence) .. ']'
end

local function reply(items, cursor, isMore)
  return '{"i":[' .. concat(items, ',') .. '],"n":' .. cursor .. ',"t":' .. isMore .. '}'
end

-- Adds the keys to `items`, until the bound is exceeded.
local function inspectKeys(keys, items, bound)
  local locks, all = readLocks(region, keys), readLocks(region, { EVERY })[EVERY]
  for _, key in ipairs(keys) do
    if spent >= bound then return end
    insert(items, found(key, digestOf(key), locks[key] or all))
    spent = spent + #key
  end
end

-- Scans a few keys at a time, as a cursor can only stand between the replies of SCAN.
local function scan(cursor, count, bound)
  local items, seen = {}, 0
  repeat
    local answered, keys = must('SCAN', cursor, 'COUNT', whole(math.min(count, KEYS_AT_ONCE))), {}
    cursor, seen = answered[1], seen + #answered[2]
    for _, key in ipairs(answered[2]) do
      if isVisible(key) then insert(keys, key) end
    end
    inspectKeys(keys, items, math.huge)
  until cursor == '0' or seen >= count or spent >= bound
  return reply(items, cursor == '0' and 'null' or text(cursor), 0)
end

local function listLocks(count)
  local items = {}
  for key, record in pairs(readAllLocks(region)) do
    if #items == count then return reply(items, 'null', 1) end
    insert(items, found(key, UNDIGESTED, record))
  end
  return reply(items, 'null', 0)
end

return answer(#ARGV[1], function()
  local given = cjson.decode(ARGV[1])
  region = readRegion() or newRegion(0)
  if region.laterFormat then error('the state is of a later release', 0) end
  if given[1] == 's' then return scan(given[2], given[3], given[4]) end
  if given[1] == 'l' then return listLocks(given[2]) end
  local items, keys = {}, {}
  for index, key in ipairs(given[2]) do keys[index] = fold(key) end
  inspectKeys(keys, items, given[3])
  return reply(items, 'null', 0)
end)
