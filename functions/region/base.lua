-- What the scripts of a region share: the shard's names, protected commands, and the reply encoding. scripts.ts puts
-- this text ahead of all others.
--
-- KEYS: `lockstep:<shard>:meta`, and the same with `lock`, `done` and `lease`. User keys, shadows, backups and the
-- pieces of a copy are not declared: they are in the same database, and the shard's own names lead to them.
local META, LOCK, DONE, LEASE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PREFIX = string.sub(META, 1, -1 - #'meta')
local RESERVED = 'lockstep:'
-- Stands for every key among the keys of a transaction, which then is alone (own-keys.ts).
local EVERY = RESERVED .. 'every-key'

-- Arguments of one command; Lua's unpack does not take many more.
local CHUNK = 4000
local EXACT = 9007199254740992
-- Bytes of a text that is worth a collection of garbage.
local MUCH = 1000000

local byte, format, match, sub = string.byte, string.format, string.match, string.sub
local concat, insert = table.concat, table.insert
local unpack = unpack or table.unpack

-- True where `name` is none of Lockstep's own.
local function isVisible(name) return sub(name, 1, #RESERVED) ~= RESERVED end

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

-- Runs a command of any number of arguments that a script can have given: `unpack` alone takes fewer.
local function invoke(words)
  if #words <= CHUNK then return redis.pcall(unpack(words)) end
  return redis.pcall(words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8], words[9],
    unpack(words, 10))
end

-- True if the error says that the server has no such command. Only its beginning is the server's own: names of groups
-- and keys stand behind it. Older servers put the place of the call in front.
local function isUnknown(failure)
  local words = match(string.lower(failure), '^@?user_script:%s*%d+:%s*(.*)') or string.lower(failure)
  words = match(words, '^err%s+(.*)') or words
  return match(words, '^unknown command') ~= nil or match(words, '^unknown redis command') ~= nil
end

-- Runs a command over many arguments, in chunks, protected. Returns the sum of its integer replies, or nil and the
-- error.
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

-- The region's clock of this very moment: it tells how long something takes, and nothing that regions have to agree on.
local function moment()
  local time = must('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local clockMs
-- The region's clock. Read only where it matters, once.
local function clock()
  clockMs = clockMs or moment()
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

-- What escapes the bytes of a text: a table for a long one, since a lookup is much faster than a call and binary values
-- are escaped byte by byte; the function for a short one, since filling the table takes its time too.
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
