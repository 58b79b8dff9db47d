-- Shared by the scripts of a region: the names of the shard's own keys, and protected commands.
-- lua-bundle.ts puts this text before all others. It knows nothing of the region's state: region-state.lua does.
--
-- KEYS: `lockstep:<shard>:state`, the same with `lock` and with `lease`, then user keys and shadows that declared.ts
-- chooses; no script reads names from there. Not declared are backups, the pieces of a copy, and names that a script
-- learns only as it runs: they are in the same database.
local STATE, LOCK, LEASE = KEYS[1], KEYS[2], KEYS[3]
local PREFIX = string.sub(STATE, 1, -1 - #'state')
-- A name that no key ever has.
local NOWHERE = PREFIX .. 'nowhere'
local RESERVED = 'lockstep:'
-- Stands for every key among the keys of a transaction, which then excludes all others (reserved-keys.ts).
local EVERY = RESERVED .. 'every-key'

-- The maximum number of arguments per command: Lua's unpack does not take many more.
local CHUNK = 4000
-- Lua's numbers represent every integer below this one exactly.
local EXACT = 9007199254740992
-- The bytes of an argument, or of replies, above which a script collects its garbage.
local MUCH = 1000000

local byte, format, match, sub = string.byte, string.format, string.match, string.sub
local concat, insert = table.concat, table.insert
local unpack = unpack or table.unpack

-- True if `name`, which may be nil, is one of `names`: a text with a space before and after each name.
local function isNamed(names, name) return name and string.find(names, ' ' .. name .. ' ', 1, true) ~= nil end

-- True if `name` is not one of Lockstep's own.
local function isVisible(name) return sub(name, 1, #RESERVED) ~= RESERVED end

-- Decodes a JSON argument. Bytes that are not UTF-8 come as lone surrogates, \udc80 for 0x80: cjson refuses these, but
-- accepts raw bytes.
local function decodeGiven(json)
  if not string.find(json, '\\udc', 1, true) then return cjson.decode(json) end
  return cjson.decode((string.gsub(json, '(\\+)udc([89a-f]%x)', function(slashes, hex)
    if #slashes % 2 == 0 then return nil end
    return sub(slashes, 2) .. string.char(tonumber(hex, 16))
  end)))
end

-- The digits of an integer. `%d` goes through a C long, which has 32 bits on some hosts.
local function whole(number) return format('%.0f', number) end

-- True if the server is out of memory, false if it is not, nil if the script has not found out.
--
-- A full server refuses each command that takes memory, unless the script has written before. So the script's first
-- write shows whether the server is full, before anything has changed. If it is, the script begins again (`answer`),
-- with a write that has no effect.
local isFull
-- The reason why the script has to begin again, or nil: 'full'; 'careful' if the server refused a command for several
-- transactions; 'longer' if this text lacks a part that the round needs. All that was done by then can be repeated.
local again

-- Ends the script, so that it begins again, if the failure is the first one for lack of memory.
local function noteFailure(failure)
  if isFull or sub(failure, 1, 3) ~= 'OOM' then return end
  again = 'full'
  error(failure, 0)
end

-- Of a round that set-round.lua has left to round.lua, which takes each of them once: the decoded argument, and the
-- texts of the state and of the lease.
local decoded, foundState, foundLease

-- Runs a command and returns its reply. Raises an error reply as its text, which a caller's pcall catches.
local function must(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    noteFailure(reply.err)
    error(reply.err, 0)
  end
  return reply
end

-- Runs a command over any number of arguments, in chunks, after `key` if one is given. Returns the sum of its integer
-- replies, or nil and the text of the first error.
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

-- Reads the region's clock, in ms, to measure durations and for nothing on which regions have to agree.
local function moment()
  local time = must('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local clockMs
-- The region's clock in ms, the same throughout a script; a script that does not need it never reads it.
local function clock()
  clockMs = clockMs or moment()
  return clockMs
end

-- Replies ------------------------------------------------------------------------------------------------------------

-- The overhead of an item that is sent or stored, in bytes. reply-shape.ts counts the same.
local ITEM = 12

-- The types of replies that a REST endpoint does not distinguish, as notes in the form of reply-shape.ts.
local shape = {}
-- The bytes of all replies of the script so far.
local answered = 0

-- The module of merge.lua, nil until it is needed, and the function that loads it.
local mergers, loadMergers

-- True if each plan has to set its keys by commands of its own.
local isCareful = false

-- Runs a script's body, and repeats it each time it has to begin again. `given` is the size of its argument in bytes.
-- Returns the body's reply; an error becomes a reply with its text, which decoding.ts counts as no answer.
local function answer(given, body)
  local ok, reply = pcall(body)
  while not ok and (again == 'full' or again == 'careful') do
    isCareful = isCareful or again == 'careful'
    if again == 'full' then
      isFull = true
      redis.pcall('UNLINK', NOWHERE)
    end
    again, shape, answered = nil, {}, 0
    ok, reply = pcall(body)
  end
  if not ok and again == 'longer' then return { 'm' } end
  -- The garbage of a long reply is many times its size, and an embedded server has little memory for all its scripts.
  if collectgarbage and (given > MUCH or answered > MUCH) then collectgarbage() end
  if ok then return reply end
  return { 'x', tostring(type(reply) == 'table' and reply.err or reply) }
end
