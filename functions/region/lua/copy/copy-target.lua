-- Writes the items of a copy at its target, in the form of copy-source.lua; each replaces its key's value.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds that copy pay for it.
--
-- The pieces of a value collect under a name of their own, and the last one replaces the key's value. A piece can be
-- written again. A key that could not be written is absent or unchanged, and reported with the server's reason.
local function copyName(key) return PREFIX .. 'copy:' .. key end

local MISSING = 'ERR the beginning of the value is missing'

-- Runs a command over many arguments. Raises its error.
local function addMany(command, name, arguments)
  if #arguments == 0 then return end
  local _, failure = overMany(command, name, arguments)
  if failure then error(failure, 0) end
end

local bytes

-- The value of a text or of [hexadecimal digits].
local function unpacked(value)
  if type(value) == 'string' then return fold(value) end
  if not bytes then
    bytes = {}
    for code = 0, 255 do bytes[format('%02x', code)] = string.char(code) end
  end
  return (string.gsub(value[1], '..', bytes))
end

local function unpackAll(parts)
  for index, part in ipairs(parts) do parts[index] = unpacked(part) end
  return parts
end

local function writeText(name, at, parts)
  if must('STRLEN', name) < at then error(MISSING, 0) end
  must('SETRANGE', name, whole(at), unpacked(parts[1]))
end

local function writeItems(name, at, parts)
  local length = must('LLEN', name)
  if length < at then error(MISSING, 0) end
  -- Further items are of this very piece, from an attempt that stopped half-way.
  if length > at and at == 0 then must('UNLINK', name) end
  if length > at and at > 0 then must('LTRIM', name, '0', whole(at - 1)) end
  addMany('RPUSH', name, unpackAll(parts))
end

local function writeScores(name, _, parts)
  local arguments = {}
  for index = 1, #parts, 2 do
    insert(arguments, parts[index + 1])
    insert(arguments, unpacked(parts[index]))
  end
  addMany('ZADD', name, arguments)
end

-- Streams ------------------------------------------------------------------------------------------------------------

-- Creates an empty stream, and its groups with their positions and consumers.
local function beginStream(name, about)
  must('XGROUP', 'CREATE', name, 'x', '0', 'MKSTREAM')
  must('XGROUP', 'DESTROY', name, 'x')
  for index = 4, #about do
    local group, delivered, count = fold(about[index][1]), about[index][2], about[index][3]
    local reply = { err = '' }
    if count >= 0 then
      reply = redis.pcall('XGROUP', 'CREATE', name, group, delivered, 'ENTRIESREAD', whole(count))
    end
    -- Servers before Redis 7 do not count the entries that a group has read.
    if reply.err then must('XGROUP', 'CREATE', name, group, delivered) end
    for position = 4, #about[index] do
      must('XGROUP', 'CREATECONSUMER', name, group, fold(about[index][position]))
    end
  end
end

local function addEntry(name, id, fields)
  local reply
  if type(fields) == 'table' then
    reply = redis.pcall('XADD', name, id, unpack(unpackAll(fields)))
  else
    -- Only entries of the stream can be claimed, so a deleted entry exists until it has been claimed.
    reply = redis.pcall('XADD', name, id, 'deleted', '')
  end
  -- The entry may exist from an attempt that stopped half-way.
  local failure = type(reply) == 'table' and reply.err
  if failure and not string.find(failure, 'smaller', 1, true) then error(failure, 0) end
end

-- Gives consumers their pending entries: one command for entries with the same consumer, time and number of deliveries.
local function claimAll(name, parts)
  local claims, order = {}, {}
  for _, entry in ipairs(parts) do
    for index = 3, #entry, 4 do
      local kind = concat({ entry[index], entry[index + 1], whole(entry[index + 2]), whole(entry[index + 3]) }, '\0')
      if not claims[kind] then
        claims[kind] = { entry, index, {} }
        insert(order, claims[kind])
      end
      insert(claims[kind][3], entry[1])
    end
  end
  for _, claim in ipairs(order) do
    local entry, index, ids = claim[1], claim[2], claim[3]
    local group, consumer = fold(entry[index]), fold(entry[index + 1])
    local time, count = whole(entry[index + 2]), whole(entry[index + 3])
    for first = 1, #ids, CHUNK do
      local arguments = { name, group, consumer, '0', unpack(ids, first, math.min(first + CHUNK - 1, #ids)) }
      for _, option in ipairs({ 'TIME', time, 'RETRYCOUNT', count, 'FORCE', 'JUSTID' }) do insert(arguments, option) end
      must('XCLAIM', unpack(arguments))
    end
  end
end

local function writeEntries(name, _, parts, about, isFirst, isLast)
  if isFirst then beginStream(name, about) end
  local deleted = {}
  for _, entry in ipairs(parts) do
    addEntry(name, entry[1], entry[2])
    if type(entry[2]) ~= 'table' then insert(deleted, entry[1]) end
  end
  claimAll(name, parts)
  addMany('XDEL', name, deleted)
  if not isLast then return end
  local reply = { err = '' }
  if about[3] >= 0 then
    reply = redis.pcall('XSETID', name, about[1], 'ENTRIESADDED', whole(about[3]), 'MAXDELETEDID', about[2])
  end
  if reply.err then must('XSETID', name, about[1]) end
end

-- Items --------------------------------------------------------------------------------------------------------------

local writers = {
  string = writeText,
  list = writeItems,
  zset = writeScores,
  hash = function(name, _, parts) addMany('HSET', name, unpackAll(parts)) end,
  set = function(name, _, parts) addMany('SADD', name, unpackAll(parts)) end,
  stream = writeEntries,
}

local function writePiece(key, item)
  local isFirst, isLast = item[5] == 1, item[6] == 1
  -- A value that one command writes needs no name of its own.
  local isPlain = isFirst and isLast and #item[8] <= CHUNK and item[4] ~= 'stream'
  local name = isPlain and key or copyName(key)
  if isFirst then
    must('UNLINK', name)
  elseif must('EXISTS', name) == 0 then
    error(MISSING, 0)
  end
  writers[item[4]](name, item[7], item[8], item[9], isFirst, isLast)
  if not isLast then return end
  if not isPlain then
    must('UNLINK', key)
    must('RENAME', name, key)
  end
  if item[3] >= 0 then must('PEXPIREAT', key, whole(item[3])) end
end

local function writeItem(key, item)
  local kind, expiry = item[1], item[3]
  if kind == 1 and expiry < 0 then
    must('SET', key, unpacked(item[4]))
  elseif kind == 1 then
    must('SET', key, unpacked(item[4]), 'PXAT', whole(expiry))
  elseif kind == 2 then
    must('RESTORE', key, whole(math.max(expiry, 0)), unpacked(item[4]), 'REPLACE', 'ABSTTL')
  elseif kind == 3 then
    writePiece(key, item)
  end
end

-- Writes all items. Returns [key, reason] in JSON for each that could not be written.
return function(items)
  local keys, failed, outdated = {}, {}, {}
  for index, item in ipairs(items) do
    keys[index] = fold(item[2])
    if item[1] ~= 3 or (item[5] == 1 and item[6] == 1) then
      -- Frees old values and earlier pieces in the background: they may be large.
      insert(outdated, keys[index])
      insert(outdated, copyName(keys[index]))
    end
  end
  addMany('UNLINK', nil, outdated)
  local memory = loadMemory()
  isFull = memory.look()
  for index, item in ipairs(items) do
    local ok, reason = true, nil
    if isFull and item[1] ~= 0 then
      ok, reason = false, memory.FAILURE
    elseif item[1] ~= 0 then
      ok, reason = pcall(writeItem, keys[index], item)
    end
    if not ok then insert(failed, '[' .. text(keys[index]) .. ',' .. text(tostring(reason)) .. ']') end
  end
  return '[' .. concat(failed, ',') .. ']'
end
