-- What the scripts of a region share: names, protected commands, the reply encoding, and the application of decisions.
-- scripts.ts puts this text ahead of round.lua (with others in between), of snapshot.lua and of inspect.lua.
--
-- KEYS: `lockstep:<shard>:meta`, and the same with `lock`, `done` and `lease`. User keys, shadows, backups and the
-- pieces of a copy are not declared: they are in the same database, and the shard's own names lead to them.
--
-- A lock record is a packed string: `<incarnation>.<sequence>|<intent>`, the intent being one of
--   k                  keep: nothing to do
--   d                  delete the key
--   p|<expiry>         put: rename the shadow over the key; its expiry in ms, or -1
--   s|<pxat>|<value>   set: the value itself, and its expiry in ms, or ''
--   m|…                merge the shadow into the key (merge.lua)
local META, LOCK, DONE, LEASE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PREFIX = string.sub(META, 1, -1 - #'meta')

-- Arguments of one command; Lua's unpack does not take many more.
local CHUNK = 4000
local EXACT = 9007199254740992
-- Bytes of a text that is worth a collection of garbage.
local MUCH = 1000000

local byte, format, match, sub = string.byte, string.format, string.match, string.sub
local concat, insert, unpack = table.concat, table.insert, unpack or table.unpack
-- What merges elements into collections, once it is needed, and what loads it (merge.lua).
local mergers, loadMergers

-- Bytes that are no UTF-8 come as halves of characters, \udc80 for 0x80: cjson refuses these, and takes any byte.
local function decodeGiven(json)
  if not string.find(json, '\\udc', 1, true) then return cjson.decode(json) end
  return cjson.decode((string.gsub(json, '(\\+)udc([89a-f]%x)', function(slashes, hex)
    if #slashes % 2 == 0 then return nil end
    return sub(slashes, 2) .. string.char(tonumber(hex, 16))
  end)))
end

-- `%d` goes through a C long, which has 32 bits on some hosts.
local function whole(number) return format('%.0f', number) end

-- Runs a command; an error reply is raised as its text, for a pcall above.
local function must(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then error(reply.err, 0) end
  return reply
end

-- Runs a command over many arguments, in chunks, protected. Returns the sum of its integer replies, or nil and why.
local function overMany(command, key, arguments)
  local sum = 0
  for first = 1, #arguments, CHUNK do
    local last = math.min(first + CHUNK - 1, #arguments)
    local reply
    if key then
      reply = redis.pcall(command, key, unpack(arguments, first, last))
    else
      reply = redis.pcall(command, unpack(arguments, first, last))
    end
    if type(reply) == 'table' and reply.err then return nil, reply.err end
    if type(reply) == 'number' then sum = sum + reply end
  end
  return sum
end

local clockMs
-- The region's clock. Read only where it matters, once.
local function clock()
  if not clockMs then
    local time = must('TIME')
    clockMs = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return clockMs
end

-- Replies ------------------------------------------------------------------------------------------------------------

local escaped, isFilled = {}, false
local function escape(character)
  local text = escaped[character]
  if not text then
    text = format('\\u%04x', byte(character))
    escaped[character] = text
  end
  return text
end

local function fillEscapes()
  for code = 0, 255 do escape(string.char(code)) end
  isFilled = true
end

-- What escapes the bytes of a text: a table for a long one, as a lookup is faster than a call; else the function.
local function escaperFor(value)
  if #value >= 4096 and not isFilled then fillEscapes() end
  return isFilled and escaped or escape
end

-- What a JSON string has escaped here. The class says what it has not, most of it in its first range, as that is fast.
local ESCAPED = '[^^-~#-[%] !]'

-- A JSON string with one character a byte. Written here rather than by cjson, so that every server writes the same.
local function text(value)
  if not string.find(value, ESCAPED) then return '"' .. value .. '"' end
  return '"' .. string.gsub(value, ESCAPED, escaperFor(value)) .. '"'
end

local folded

-- A string as cjson reads it, with one byte a character again: those from U+0080 to U+00FF come as two.
local function fold(value)
  if not string.find(value, '[\194\195]') then return value end
  if not folded then
    folded = {}
    for code = 128, 255 do folded[string.char(code < 192 and 194 or 195, 128 + code % 64)] = string.char(code) end
  end
  return (string.gsub(value, '[\194\195][\128-\191]', folded))
end

-- A reply in the form of PartOutcomeTag's replies. An integer that a Lua number does not hold comes as its digits.
local function encode(reply)
  local kind = type(reply)
  if kind == 'string' then return text(reply) end
  if kind == 'number' then return whole(reply) end
  if kind ~= 'table' then return 'null' end
  if reply.err then return '{"e":' .. text(reply.err) .. '}' end
  if reply.ok then return '{"s":' .. text(reply.ok) .. '}' end
  if reply.digits then return reply.digits end
  local items = {}
  for index, item in ipairs(reply) do items[index] = encode(item) end
  return '[' .. concat(items, ',') .. ']'
end

-- What the reply takes at least when it is encoded, in bytes. Counting is cheap; encoding what then proves too large
-- would keep the server from everything else for seconds.
local function leastBytes(reply)
  if type(reply) == 'string' then return #reply end
  if type(reply) ~= 'table' then return 1 end
  local sum = 0
  for _, item in ipairs(reply) do sum = sum + leastBytes(item) end
  return sum
end

-- True where `a` comes before `b` by bytes. Lua's own `<` follows the locale of the server.
local function before(a, b)
  if a == b then return false end
  local index = 1
  while true do
    local a1, a2, a3, a4 = byte(a, index, index + 3)
    local b1, b2, b3, b4 = byte(b, index, index + 3)
    if a1 ~= b1 then return (a1 or -1) < (b1 or -1) end
    if a2 ~= b2 then return (a2 or -1) < (b2 or -1) end
    if a3 ~= b3 then return (a3 or -1) < (b3 or -1) end
    if a4 ~= b4 then return (a4 or -1) < (b4 or -1) end
    index = index + 4
  end
end

-- Sorts strings by bytes: by Lua's fast order first, which is right in most locales, and slowly where it was not.
local function sortByBytes(items)
  table.sort(items)
  for index = 2, #items do
    if before(items[index], items[index - 1]) then
      table.sort(items, before)
      return items
    end
  end
  return items
end

local MEMBERS, PAIRS, EXACT_VALUE, EXACT_FIELD = 1, 2, 3, 4

local function sortedPairs(flat)
  local fields, values = {}, {}
  for index = 1, #flat, 2 do
    insert(fields, flat[index])
    values[flat[index]] = flat[index + 1]
  end
  local sorted = {}
  for _, field in ipairs(sortByBytes(fields)) do
    insert(sorted, field)
    insert(sorted, values[field])
  end
  return sorted
end

-- Puts an unordered reply into the one order that every region gives.
local function ordered(reply, order)
  if type(reply) ~= 'table' or reply.err or reply.ok then return reply end
  if order == MEMBERS then return sortByBytes(reply) end
  if order == PAIRS then return sortedPairs(reply) end
  return reply
end

-- Locks --------------------------------------------------------------------------------------------------------------

local function idOf(incarnation, sequence) return whole(incarnation) .. '.' .. whole(sequence) end

local function holderOf(record) return match(record, '^[^|]+') end

local function orderOf(id)
  local incarnation, sequence = match(id, '^(%d+)%.(%d+)$')
  return tonumber(incarnation), tonumber(sequence)
end

local function scoreOf(incarnation, sequence) return whole(incarnation * 4294967296 + sequence) end

local function shadowName(id, key) return PREFIX .. 'shadow:' .. id .. ':' .. key end

-- The lock records of `keys`, by key.
local function readLocks(keys)
  local locks = {}
  for first = 1, #keys, CHUNK do
    local last = math.min(first + CHUNK - 1, #keys)
    local found = must('HMGET', LOCK, unpack(keys, first, last))
    for index, record in ipairs(found) do
      if record then locks[keys[first + index - 1]] = record end
    end
  end
  return locks
end

-- How many of the keys are locked by the transaction.
local function countHeld(locks, keys, id)
  local held = 0
  for _, key in ipairs(keys) do
    if locks[key] and holderOf(locks[key]) == id then held = held + 1 end
  end
  return held
end

-- Decisions ----------------------------------------------------------------------------------------------------------

-- What a decision does to keys that are all locked by its transaction.
local function planOf(id, isCommit, keys, locks)
  local plan = { id = id, keys = keys, unlinks = {}, renames = {}, sets = {} }
  for _, key in ipairs(keys) do
    local kind, at = match(locks[key], '^[^|]+|(%a)|?()')
    if kind == 'p' then
      local shadow = shadowName(id, key)
      insert(plan.unlinks, isCommit and key or shadow)
      if isCommit then insert(plan.renames, { shadow, key, tonumber(sub(locks[key], at)) }) end
    elseif kind == 'd' and isCommit then
      insert(plan.unlinks, key)
    elseif kind == 'm' then
      (mergers or loadMergers()).plan(plan, isCommit, key, sub(locks[key], at))
    elseif kind == 's' and isCommit then
      local bar = string.find(locks[key], '|', at, true)
      insert(plan.sets, { key, sub(locks[key], bar + 1), sub(locks[key], at, bar - 1) })
    end
  end
  return plan
end

-- False where a shadow is missing before its expiry. What has expired since leaves the key absent, as it should.
local function shadowsStand(plan)
  local standing = {}
  for _, rename in ipairs(plan.renames) do
    if must('EXISTS', rename[1]) == 1 then
      insert(standing, rename)
    elseif rename[3] == -1 or rename[3] > clock() then
      return false
    end
  end
  plan.renames = standing
  return not plan.merges or mergers.stand(plan)
end

-- Marks the plans that lack a shadow as lost. One command where all is well.
local function checkShadows(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, rename in ipairs(plan.renames) do insert(names, rename[1]) end
    if plan.merges then mergers.name(plan, names) end
  end
  if #names == 0 or overMany('EXISTS', nil, names) == #names then return end
  for _, plan in ipairs(plans) do
    if not shadowsStand(plan) then plan.failure = 'l' end
  end
end

local function standing(plans)
  local left = {}
  for _, plan in ipairs(plans) do
    if not plan.failure then insert(left, plan) end
  end
  return left
end

local function failAll(plans)
  for _, plan in ipairs(plans) do plan.failure = plan.failure or 'r' end
end

-- A SET may be refused where memory is short. It comes first, and can run again.
local function runSets(plan)
  for _, item in ipairs(plan.sets) do
    local reply
    if item[3] == '' then
      reply = redis.pcall('SET', item[1], item[2])
    else
      reply = redis.pcall('SET', item[1], item[2], 'PXAT', item[3])
    end
    if reply.err then
      plan.failure = 'r'
      return
    end
  end
end

-- The old value goes by UNLINK first: RENAME would free it in line.
local function runRenames(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, name in ipairs(plan.unlinks) do insert(names, name) end
  end
  if not overMany('UNLINK', nil, names) then return failAll(plans) end
  for _, plan in ipairs(plans) do
    for _, rename in ipairs(plan.renames) do
      if redis.pcall('RENAME', rename[1], rename[2]).err then plan.failure = 'r' end
    end
  end
end

-- Applies plans whole. A plan that could not be applied has `failure` set ('l' lost, 'r' refused) and keeps its locks.
-- `settled` is a flat list of (score, id) that goes into `done` with them; it goes first, because a transaction that
-- is in `done` and still holds locks is applied again, while one that is in neither counts as lost.
-- Returns false where `done` could not be written; then nothing was changed.
local function applyPlans(plans, settled, locks)
  checkShadows(plans)
  plans = standing(plans)
  for _, plan in ipairs(plans) do
    insert(settled, scoreOf(orderOf(plan.id)))
    insert(settled, plan.id)
  end
  if #settled > 0 and not overMany('ZADD', DONE, settled) then
    failAll(plans)
    return false
  end
  for _, plan in ipairs(plans) do runSets(plan) end
  if mergers then mergers.run(standing(plans)) end
  runRenames(standing(plans))
  local dropped = {}
  for _, plan in ipairs(standing(plans)) do
    for _, key in ipairs(plan.keys) do
      insert(dropped, key)
      locks[key] = nil
    end
  end
  local _, failure = overMany('HDEL', LOCK, dropped)
  if failure then error(failure, 0) end
  if mergers then mergers.drop(standing(plans)) end
  return true
end

-- Meta ---------------------------------------------------------------------------------------------------------------

-- The shard's state here, or nil where it has none.
local function readMeta()
  local found = must('HMGET', META, 'generation', 'epoch', 'incarnation', 'floor', 'counter', 'history',
    'phase', 'copyNumber')
  if not found[1] then return nil end
  local floorIncarnation, floorSequence = orderOf(found[4])
  return {
    generation = tonumber(found[1]),
    epoch = tonumber(found[2]),
    incarnation = tonumber(found[3]),
    floor = { floorIncarnation, floorSequence },
    counter = tonumber(found[5]),
    history = found[6],
    phase = found[7] or '',
    copyNumber = tonumber(found[8] or 0),
  }
end

-- The marks of the last rounds, oldest first, each followed by a comma. The newest has the number of `counter`.
local function marksOf(meta)
  local marks = {}
  for mark in string.gmatch(meta.history, '[^,]+') do insert(marks, mark) end
  return marks
end

-- Nil where the region has the pair, else the refusal.
local function lossOf(meta, seen)
  if seen == 0 then return nil end
  if seen[1] > meta.counter then return 'lost' end
  local marks = marksOf(meta)
  local index = seen[1] - meta.counter + #marks
  if index < 1 then return 'history' end
  if marks[index] ~= seen[2] then return 'lost' end
  return nil
end

local function refusedFor(meta) return '{"f":["generation",' .. whole(meta and meta.generation or 0) .. ']}' end

-- Runs a script's body, which was given so many bytes. Whatever it raises is answered as text, which its reader counts
-- as no answer.
local function answer(given, body)
  local ok, reply = pcall(body)
  -- What made a long reply is many times its size, and an embedded server has little room for all scripts together.
  if collectgarbage and (given > MUCH or #tostring(reply) > MUCH) then collectgarbage() end
  if ok then return reply end
  return '{"x":' .. text(tostring(type(reply) == 'table' and reply.err or reply)) .. '}'
end
