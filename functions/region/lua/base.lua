-- What the scripts of a region share: the shard's names, protected commands, and the reply encoding. lua-bundle.ts puts
-- this text ahead of all others.
--
-- KEYS: `lockstep:<shard>:state`, and the same with `lock` and `lease`. Behind them stand those user keys and shadows
-- that declared.ts knows; no script reads their names from there. Backups, the pieces of a copy and names that a script
-- only learns as it runs are not declared: they are in the same database, and the own names lead to them.
local STATE, LOCK, LEASE = KEYS[1], KEYS[2], KEYS[3]
local PREFIX = string.sub(STATE, 1, -1 - #'state')
-- A name that no key ever has.
local NOWHERE = PREFIX .. 'nowhere'
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

-- True if the server is out of memory, false if it is not, nil as long as that does not matter.
--
-- A server that is full refuses each command that takes memory, but lets a script that has written before go on to its
-- end. So a script learns that the server is full by its first write, when it has changed nothing yet. It then begins
-- again (`answer`), and writes something without a meaning first.
local isFull
-- Set if the script has to begin again: 'full'; 'careful' if a command for several transactions was refused; 'longer'
-- if this text lacks a part that the round needs. Nothing that could not be repeated has been done then.
local again

-- Ends the script, so that it begins again, if the failure is the first one for lack of memory.
local function noteFailure(failure)
  if isFull or sub(failure, 1, 3) ~= 'OOM' then return end
  again = 'full'
  error(failure, 0)
end

-- Runs a command; an error reply is raised as its text, for a pcall above.
local function must(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    noteFailure(reply.err)
    error(reply.err, 0)
  end
  return reply
end

-- Runs a command of any number of arguments that a script can have given: `unpack` alone takes fewer.
local function invoke(words)
  local reply
  if #words <= CHUNK then
    reply = redis.pcall(unpack(words))
  else
    reply = redis.pcall(words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8], words[9],
      unpack(words, 10))
  end
  if type(reply) == 'table' and reply.err then noteFailure(reply.err) end
  return reply
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
    if type(reply) == 'table' and reply.err then
      noteFailure(reply.err)
      return nil, reply.err
    end
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

-- The module that merges, once it is needed, and the function that loads it.
local mergers, loadMergers

-- True if each plan has to set its keys by itself.
local isCareful = false

-- Runs a script's body, and once more if it has to begin again; `given` is the size of its argument in bytes. An error
-- of the body becomes a reply with its text, which its reader counts as no answer.
local function answer(given, body)
  local ok, reply = pcall(body)
  if not ok and (again == 'full' or again == 'careful') then
    isCareful = again == 'careful'
    if again == 'full' then
      isFull = true
      redis.pcall('UNLINK', NOWHERE)
    end
    again, shape, answered = nil, {}, 0
    ok, reply = pcall(body)
  end
  if not ok and again == 'longer' then return { 'm' } end
  -- What made a long reply is many times its size, and an embedded server has little room for all scripts together.
  if collectgarbage and (given > MUCH or answered > MUCH) then collectgarbage() end
  if ok then return reply end
  return { 'x', tostring(type(reply) == 'table' and reply.err or reply) }
end
