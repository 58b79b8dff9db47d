-- What the scripts of a region share: the shard's names, protected commands, and the reply encoding. lua-bundle.ts puts
-- this text ahead of all others.
--
-- KEYS: `lockstep:<shard>:meta`, and the same with `lock`, `done` and `lease`. Behind them stand those user keys and
-- shadows that declared.ts knows; no script reads their names from there. Backups, the pieces of a copy and what is
-- found out while a script runs are not declared: they are in the same database, and the own names lead to them.
local META, LOCK, DONE, LEASE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PREFIX = string.sub(META, 1, -1 - #'meta')
local RESERVED = 'lockstep:'
-- Stands for every key among the keys of a transaction, which then is alone (reserved-keys.ts).
local EVERY = RESERVED .. 'every-key'

-- Arguments of one command; Lua's unpack does not take many more.
local CHUNK = 4000
local EXACT = 9007199254740992
-- Bytes of a text that is worth a collection of garbage.
local MUCH = 1000000

local byte, format, match, sub = string.byte, string.format, string.match, string.sub
local concat, insert = table.concat, table.insert
local unpack = unpack or table.unpack

-- True if `name`, which may be nil, is one of `names`: a text that has a space before and behind each of them.
local function isNamed(names, name) return name and string.find(names, ' ' .. name .. ' ', 1, true) ~= nil end

-- True if `name` is not one of Lockstep's own.
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

-- Lua takes 200 names of one block; what only one function needs has a block of its own.
local text, fillEscapes
-- What a JSON string has escaped here. The class says what it has not, most of it in its first range, as that is fast.
local ESCAPED = '[^^-~#-[%] !]'
do
local escaped, isFilled = {}, false
local function escape(character)
  local text = escaped[character]
  if not text then
    text = format('\\u%04x', byte(character))
    escaped[character] = text
  end
  return text
end

function fillEscapes()
  for code = 0, 255 do escape(string.char(code)) end
  isFilled = true
end

-- What escapes the bytes of a text: a table for a long one, since a lookup is much faster than a call and binary values
-- are escaped byte by byte; the function for a short one, since filling the table takes its time too.
local function escaperFor(value)
  if #value >= 4096 and not isFilled then fillEscapes() end
  return isFilled and escaped or escape
end

-- A JSON string with one character a byte. Written here rather than by cjson, so that every server writes the same.
function text(value)
  if not string.find(value, ESCAPED) then return '"' .. value .. '"' end
  return '"' .. string.gsub(value, ESCAPED, escaperFor(value)) .. '"'
end
end

local fold
do
local folded

-- A string as cjson reads it, with one byte a character again: those from U+0080 to U+00FF come as two.
function fold(value)
  if not string.find(value, '[\194\195]') then return value end
  if not folded then
    folded = {}
    for code = 128, 255 do folded[string.char(code < 192 and 194 or 195, 128 + code % 64)] = string.char(code) end
  end
  return (string.gsub(value, '[\194\195][\128-\191]', folded))
end
end

-- A value as a JSON text with one character a byte, for what copies: strings, integers, nothing, and lists of these.
local function encode(value)
  local kind = type(value)
  if kind == 'string' then return text(value) end
  if kind == 'number' then return whole(value) end
  if kind ~= 'table' then return 'null' end
  local items = {}
  for index, item in ipairs(value) do items[index] = encode(item) end
  return '[' .. concat(items, ',') .. ']'
end

-- What the value takes at least when it is encoded, in bytes. Counting is cheap; encoding what then proves too large
-- would keep the server from everything else for seconds.
local function leastBytes(value)
  if type(value) == 'string' then return #value end
  if type(value) ~= 'table' then return 1 end
  local sum = 0
  for _, item in ipairs(value) do sum = sum + leastBytes(item) end
  return sum
end

-- What an item takes besides its own bytes, wherever it is sent or stored. reply-shape.ts counts the same.
local ITEM = 12

-- What the answer of a REST endpoint does not tell of the replies: the notes of reply-shape.ts.
local shape = {}
-- The bytes of all replies so far.
local answered = 0

local plainWithin
do
-- `place` leads to the reply that is looked at, `depth` places deep.
local place, depth = {}, 0
-- The bytes of the reply that is looked at, and how many it may have.
local replyBytes, replyBound = 0, 0

local function noteShape(letter, text)
  insert(shape, concat(place, '.', 1, depth) .. letter)
  replyBytes = replyBytes + #text + ITEM
  return text
end

local plain

local function plainItems(items)
  depth = depth + 1
  replyBytes = replyBytes + ITEM
  for index, item in ipairs(items) do
    if replyBytes > replyBound then break end
    if type(item) == 'string' then
      replyBytes = replyBytes + #item + ITEM
    else
      place[depth] = index - 1
      local told = plain(item)
      if told ~= item then items[index] = told end
    end
  end
  depth = depth - 1
  return items
end

-- The reply as the server gives it to any client, with its shape noted beside: an error inside an array would be an
-- error of all, and a status or the digits of a large integer look like a string.
function plain(reply)
  local kind = type(reply)
  if kind == 'string' then
    replyBytes = replyBytes + #reply + ITEM
    return reply
  end
  if kind ~= 'table' then
    replyBytes = replyBytes + 2 * ITEM
    return kind == 'number' and reply
  end
  if reply.err then return noteShape('e', reply.err) end
  if reply.ok then return noteShape('s', reply.ok) end
  if reply.digits then return noteShape('d', reply.digits) end
  return plainItems(reply)
end

-- The plain form of a reply, which stands at these places from outside, and its bytes; nil and more than `bound` where
-- it has more. Counting ends there, so that no reply costs more than it may have.
function plainWithin(bound, reply, ...)
  local notes = #shape
  depth, replyBytes, replyBound = select('#', ...), 0, bound
  for index = 1, depth do place[index] = (select(index, ...)) end
  local told = plain(reply)
  answered = answered + replyBytes
  if replyBytes <= bound then return told, replyBytes end
  for index = #shape, notes + 1, -1 do shape[index] = nil end
  return nil, replyBytes
end
end

-- True if `a` comes before `b` by bytes. Lua's own `<` follows the locale of the server.
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
