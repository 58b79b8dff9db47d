-- Reads keys with their values at the source of a copy, each as it is at this moment. Changes nothing.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds that copy pay for it.
--
-- An item is [key, next, data] in JSON, `next` null if the value is complete. `data` is for copy-target.lua alone:
--   [0, key, -1, 0]                                         remove it
--   [1, key, expiry, value]                                 a string
--   [2, key, expiry, dump]                                  as the server dumps it
--   [3, key, expiry, type, isFirst, isLast, at, parts, about]   a piece; a value in one piece is the first and the last
-- `parts` is a flat list: the text, the items, (member, score)s, (field, value)s, the members, or entries
-- [id, fields, group, consumer, deliveredAt, deliveries, …], whose fields are null if only groups still know the id.
-- Texts have one character per byte, or are [hexadecimal digits] if that is shorter, except in entries of streams.
-- `at` is the size of the earlier pieces, in bytes or items; `about` is [lastId, maxDeletedId, entriesAdded, group…]
-- for a stream, with [name, lastDelivered, entriesRead, consumer…] per group. An expiry is -1 or in ms.
--
-- `next` begins with two letters of the type. A value that has another type by then is read from its beginning; one
-- that is gone is answered as a removal. No other change of a value between its pieces shows: its reader has to know.
local DUMP, ABSENT = 0, 2

-- Up to this number of elements, one command reads a collection and one writes it, faster than a dump is encoded.
local FEW = 64
-- The maximum number of elements that one command reads.
local MANY = 512
-- Raises an error of the server unchanged. It is faster than `must`, and called three times per key.
local call = redis.call
-- The number of keys above which the table of escapes pays off.
local MANY_KEYS = 50

-- Reads from `position` on, up to `bound` bytes, in chunks of a number of elements that their average size suggests;
-- the first chunk has one. `fetch` returns a chunk, and the position after it or nil. Returns the parts, the position
-- from which to continue or nil, and the bytes.
local function gather(position, bound, fetch)
  local parts, size, count, fetched = {}, 0, 1, 0
  while true do
    local chunk, after = fetch(position, count)
    -- The encoding adds a few characters per part.
    local added = leastBytes(chunk) + 4 * #chunk
    if size > 0 and size + added > bound then return parts, position, size end
    for _, part in ipairs(chunk) do insert(parts, part) end
    size, fetched, position = size + added, fetched + count, after
    if not after or size >= bound then return parts, after, size end
    count = math.max(1, math.min(MANY, math.floor((bound - size) / (size / fetched + 1) / 2)))
  end
end

-- Returns a reader by rank: `length` and `range` are its commands, and `option` is a last argument of `range`, or nil.
local function byRank(length, range, option)
  return function(key, from, bound)
    local total, first = must(length, key), tonumber(from) or 0
    local parts, after, size = gather(first, bound, function(position, count)
      local chunk
      if option then
        chunk = must(range, key, whole(position), whole(position + count - 1), option)
      else
        chunk = must(range, key, whole(position), whole(position + count - 1))
      end
      if position + count < total then return chunk, position + count end
      return chunk, nil
    end)
    return parts, after and whole(after), size, first
  end
end

-- Returns a reader by cursor.
local function byScan(command)
  return function(key, from, bound)
    local parts, after, size = gather(from == '' and '0' or from, bound, function(position, count)
      local reply = must(command, key, position, 'COUNT', whole(count))
      if reply[1] ~= '0' then return reply[2], reply[1] end
      return reply[2], nil
    end)
    return parts, after, size, 0
  end
end

local function readText(key, from, bound)
  local first = tonumber(from) or 0
  local part = must('GETRANGE', key, whole(first), whole(first + bound - 1))
  local after = first + #part
  if after >= must('STRLEN', key) then after = nil end
  return { part }, after and whole(after), #part, first
end

-- Streams ------------------------------------------------------------------------------------------------------------

-- The values of an XINFO reply by name.
local function named(flat)
  local values = {}
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return values
end

-- True if id `a` comes before `b`. Their numbers may be too large for Lua's.
local function isEarlier(a, b)
  local timeA, sequenceA = match(a, '^(%d+)%-(%d+)$')
  local timeB, sequenceB = match(b, '^(%d+)%-(%d+)$')
  if timeA ~= timeB then
    if #timeA ~= #timeB then return #timeA < #timeB end
    return before(timeA, timeB)
  end
  if #sequenceA ~= #sequenceB then return #sequenceA < #sequenceB end
  return before(sequenceA, sequenceB)
end

local function groupsOf(key)
  local groups = {}
  for _, flat in ipairs(must('XINFO', 'GROUPS', key)) do insert(groups, named(flat)) end
  return groups
end

local function aboutStream(key, groups)
  local info = named(must('XINFO', 'STREAM', key))
  local about = { info['last-generated-id'], info['max-deleted-entry-id'] or '', info['entries-added'] or -1 }
  for _, group in ipairs(groups) do
    local item = { group.name, group['last-delivered-id'], group['entries-read'] or -1 }
    for _, flat in ipairs(must('XINFO', 'CONSUMERS', key, group.name)) do insert(item, named(flat).name) end
    insert(about, item)
  end
  return about
end

-- Adds the pending deliveries of groups from `low` to `high` to the entries. Returns the id up to which all are known.
local function addPending(key, groups, low, high, bound, byId, ids)
  for _, group in ipairs(groups) do
    local pending = group.pending > 0 and must('XPENDING', key, group.name, low, high, whole(bound)) or {}
    for _, item in ipairs(pending) do
      local entry = byId[item[1]]
      if not entry then
        entry = { item[1], false }
        byId[item[1]] = entry
        insert(ids, item[1])
      end
      insert(entry, group.name)
      insert(entry, item[2])
      insert(entry, clock() - item[3])
      insert(entry, item[4])
    end
    if #pending >= bound then high = pending[#pending][1] end
  end
  return high
end

local function fetchEntries(key, groups, position, count)
  local low = position == '' and '-' or '(' .. position
  local found, byId, ids = must('XRANGE', key, low, '+', 'COUNT', whole(count)), {}, {}
  for _, entry in ipairs(found) do
    byId[entry[1]] = { entry[1], entry[2] }
    insert(ids, entry[1])
  end
  local high = #found < count and '+' or found[#found][1]
  high = addPending(key, groups, low, high, count + 1, byId, ids)
  table.sort(ids, isEarlier)
  local chunk = {}
  for _, id in ipairs(ids) do
    if high == '+' or not isEarlier(high, id) then insert(chunk, byId[id]) end
  end
  return chunk, high ~= '+' and high or nil
end

local function readStream(key, from, bound)
  local groups = groupsOf(key)
  local parts, after, size = gather(from, bound, function(position, count)
    return fetchEntries(key, groups, position, count)
  end)
  return parts, after, size, 0, aboutStream(key, groups)
end

-- Items --------------------------------------------------------------------------------------------------------------

local readers = {
  string = readText,
  list = byRank('LLEN', 'LRANGE'),
  zset = byRank('ZCARD', 'ZRANGE', 'WITHSCORES'),
  hash = byScan('HSCAN'),
  set = byScan('SSCAN'),
  stream = readStream,
}
local counters = { list = 'LLEN', zset = 'ZCARD', hash = 'HLEN', set = 'SCARD' }
local wholes = {
  list = function(key) return call('LRANGE', key, '0', '-1') end,
  zset = function(key) return call('ZRANGE', key, '0', '-1', 'WITHSCORES') end,
  hash = function(key) return call('HGETALL', key) end,
  set = function(key) return call('SMEMBERS', key) end,
}

local hasDump = true
local function dumpOf(key)
  if not hasDump then return nil end
  local reply = redis.pcall('DUMP', key)
  if type(reply) == 'string' then return reply end
  hasDump = false
  return nil
end

-- The parts of the answer, joined once at the end so that large values are not copied repeatedly; its number of items.
local out, count = {}, 0

local hex

-- A value in JSON: its text, or its hexadecimal digits as the only item of an array if a sample says that is shorter.
local function packed(value)
  local first = string.find(value, ESCAPED)
  if not first then return '"' .. value .. '"' end
  local sample = sub(value, first, first + 31)
  local _, found = string.gsub(sample, ESCAPED, '')
  if #sample < 16 or found * 5 < #sample then return text(value) end
  if not hex then
    hex = {}
    for code = 0, 255 do hex[string.char(code)] = format('%02x', code) end
  end
  return '["' .. string.gsub(value, '.', hex) .. '"]'
end

-- Begins an item, up to its expiry.
local function begin(kind, key, after, expiry)
  local name = text(key)
  out[#out + 1] = (count > 0 and ',[' or '[') .. name .. (after and ',' .. text(after) .. ',[' or ',null,[') .. kind
    .. ',' .. name .. ',' .. whole(expiry) .. ','
  count = count + 1
end

local function emitWhole(kind, key, expiry, value)
  begin(kind, key, nil, expiry)
  out[#out + 1] = packed(value)
  out[#out + 1] = ']]'
  return #value
end

local function emitParts(kind, key, from, after, expiry, parts, at, about)
  begin(3, key, after and sub(kind, 1, 2) .. after, expiry)
  out[#out + 1] = '"' .. kind .. '",' .. (from == '' and '1,' or '0,') .. (after and '0,' or '1,') .. whole(at) .. ',['
  for index, part in ipairs(parts) do
    if index > 1 then out[#out + 1] = ',' end
    out[#out + 1] = type(part) == 'string' and packed(part) or encode(part)
  end
  out[#out + 1] = '],' .. (about and encode(about) or '0') .. ']]'
end

-- Adds a piece of the value, from `from` on, and returns its size; or nil if the rest of the value has no room and
-- `isFirst` is not set.
local function emitPiece(key, expiry, kind, from, room, isFirst, dumpsWell)
  local parts, after, size, at, about = readers[kind](key, from, room)
  if not isFirst and (after or size > room) then return nil end
  if dumpsWell and not after then
    local dump = dumpOf(key)
    if dump and #dump <= room then return emitWhole(2, key, expiry, dump) end
  end
  emitParts(kind, key, from, after, expiry, parts, at, about)
  return size
end

-- Adds the item of a key that exists, and returns its size; or nil if it has no room and `isFirst` is not set.
local function emitKey(key, from, expiry, form, room, isFirst)
  local length = redis.pcall('STRLEN', key)
  if from == '' and type(length) == 'number' then
    if length <= room then return emitWhole(1, key, expiry, call('GET', key)) end
    if not isFirst then return nil end
  end
  local kind = call('TYPE', key).ok
  if not readers[kind] then
    local dump = must('DUMP', key)
    if not isFirst and #dump > room then return nil end
    return emitWhole(2, key, expiry, dump)
  end
  if from ~= '' then
    from = sub(from, 1, 2) == sub(kind, 1, 2) and sub(from, 3) or ''
    return emitPiece(key, expiry, kind, from, room, isFirst, false)
  end
  if counters[kind] and call(counters[kind], key) <= FEW then
    local parts = wholes[kind](key)
    local size = 0
    for _, part in ipairs(parts) do size = size + #part end
    if size <= room then
      emitParts(kind, key, '', nil, expiry, parts, 0, nil)
      return size
    end
    if not isFirst then return nil end
  end
  return emitPiece(key, expiry, kind, '', room, isFirst, form == DUMP and kind ~= 'string')
end

-- Reads keys, a flat list of (key, from), up to `bound` bytes. Returns the answer in JSON, with `cursor` and `total`.
local function read(region, wanted, form, bound, cursor, total)
  local keys, locked, left, used, hasGone = {}, {}, {}, 0, false
  for index = 1, #wanted, 2 do insert(keys, wanted[index]) end
  local locks = readLocks(region, keys)
  local isAllLocked = readLocks(region, { EVERY })[EVERY] ~= nil
  insert(out, '["r",[')
  if #keys > MANY_KEYS then fillEscapes() end
  for index, key in ipairs(keys) do
    local expiry = not locks[key] and not isAllLocked and call('PEXPIRETIME', key)
    if not expiry then
      insert(locked, key)
    -- A key that expires before the scan reaches it would be left at the target: so the target drops each key with an
    -- expiry now, and the scan brings it back.
    elseif expiry == -2 or (form == ABSENT and expiry ~= -1) then
      begin(0, key, nil, -1)
      out[#out + 1] = '0]]'
    elseif form ~= ABSENT then
      local room = math.max(1, bound - used - #key)
      local size = #left == 0 and emitKey(key, wanted[index * 2], expiry, form, room, not hasGone)
      if size then
        used, hasGone = used + size + #key, true
      else
        insert(left, key)
      end
    end
  end
  insert(out, '],' .. encode(locked) .. ',' .. encode(left) .. ',' .. cursor .. ',' .. total .. ']')
  return concat(out)
end

return read
