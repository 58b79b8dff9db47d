-- What a user's script sees in place of Redis's own globals, so that it can do nothing that Lockstep does not know of,
-- and sees nothing that regions could see differently.
--
-- This text is a chunk of its own, called `lockstep`: the lines of its functions must not be taken for lines of the
-- user's script, which has the name that Redis gives to both. script.lua calls it with
--   { keys, arguments, seed, steps, perform, compile, isKnown }
-- `perform` runs what a user passed to redis.call: it returns the reply, or nil and the text of the error. `compile`
-- makes a function of a text that sees the same names, and `isKnown` tells of a command whether Redis has it. Returns
-- the values by name; what launches the script; and what tells why it was ended, and whether the server did it.
local given = ...
local format, match, find = string.format, string.match, string.find
local error, floor, next, pcall, rawget, select, type = error, math.floor, next, pcall, rawget, select, type
local globals, native, nativeMath = _G, redis, math

-- Errors -------------------------------------------------------------------------------------------------------------

-- Why the script may not go on, whatever it catches; and the server's own error, where that is the reason.
local ending, refusal

local function stop(reason)
  ending = ending or reason
  error(ending, 0)
end

-- Where the function runs that stands `level` levels above the caller of this one, as `name:line: `. It is '' for a
-- function of C, and for one that has made a tail call and so is gone.
local function placeAt(level)
  local _, place = pcall(error, '', level + 3)
  return place
end

-- Where the script last looked up `redis.call`: that is where it calls from if that was a tail call.
local lastLook = ''

-- The places of errors that commands have raised.
local places = setmetatable({}, { __mode = 'k' })

local function isOwn(place) return find(place, 'lockstep:', 1, true) == 1 end

-- Where the script was that raised what is handled, and whether a function of this chunk did so for it. Beyond the next
-- function of this chunk, nothing is the script's.
local function placeOfError()
  local place, isByOwn, isPast = '', false, false
  for level = 2, 12 do
    place = placeAt(level)
    if isOwn(place) and isPast then break end
    if place ~= '' and not isOwn(place) then return place, isByOwn end
    isByOwn = isByOwn or isOwn(place)
    isPast = isByOwn and place == ''
  end
  return lastLook, isByOwn
end

-- Handles what nobody has caught: returns its text, and where it was raised.
local function handled(raised)
  local place, isByOwn = placeOfError()
  -- An address is another one in each region.
  if type(raised) ~= 'table' then
    return { message = 'ERR ' .. string.gsub(tostring(raised), '^(%a+): 0x%x+$', '%1'), place = place }
  end
  local message = rawget(raised, 'err')
  if type(message) == 'number' then message = tostring(message) end
  if type(message) ~= 'string' then message = 'ERR a table was raised that has no text as its err' end
  return { message = message, place = isByOwn and places[raised] or place }
end

local function readonly() error('Attempt to modify a readonly table', 2) end

-- Commands -----------------------------------------------------------------------------------------------------------

local function failureOf(message) return { err = message, ignore_error_stats_update = true } end

local function run(...)
  if ending then error(ending, 0) end
  local isDone, reply, failure = pcall(given.perform, stop, ...)
  if isDone then return reply, failure end
  -- A script that calls itself too deeply fails by its own fault; all else is the server's.
  if not ending and not find(tostring(reply), 'stack overflow', 1, true) then refusal = reply end
  stop(reply)
end

local function call(...)
  local reply, failure = run(...)
  if not failure then return reply end
  local raised, place = failureOf(failure), placeAt(1)
  places[raised] = place == '' and lastLook or place
  error(raised, 0)
end

local function protectedCall(...)
  local reply, failure = run(...)
  if failure then return failureOf(failure) end
  return reply
end

local function refuse(message)
  local raised, place = { err = message }, placeAt(2)
  places[raised] = place == '' and lastLook or place
  error(raised, 0)
end

-- Functions that do as Redis's do, and nothing.
local function log(...)
  if select('#', ...) < 2 then refuse('ERR redis.log() requires two arguments or more.') end
  local level = tonumber((...))
  if not level then refuse('ERR First argument must be a number (log level).') end
  if level < 0 or level > 3 then refuse('ERR Invalid debug level.') end
end

local function setRepl(...)
  if select('#', ...) ~= 1 then refuse('ERR redis.set_repl() requires two arguments.') end
  local flags = tonumber((...)) or 0
  if flags < 0 or flags > 3 then
    refuse('ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.')
  end
end

local function setResp(...)
  if select('#', ...) ~= 1 then refuse('ERR redis.setresp() requires one argument.') end
  local version = tonumber((...))
  if version == 3 then
    refuse('ERR redis.setresp(3) is not supported in a script: regions answer each other by RESP2; leave it out')
  end
  if version ~= 2 then refuse('ERR RESP version must be 2 or 3.') end
end

local function mayRun(...)
  if select('#', ...) == 0 then refuse('ERR Please specify at least one argument for this redis lib call') end
  if not given.isKnown(...) then refuse('ERR Invalid command passed to redis.acl_check_cmd()') end
  return true
end

local fields = {
  call = call, pcall = protectedCall, log = log, set_repl = setRepl, setresp = setResp, acl_check_cmd = mayRun,
  error_reply = native.error_reply, status_reply = native.status_reply, sha1hex = native.sha1hex,
  replicate_commands = function() return true end,
  breakpoint = function() return false end,
  debug = function() end,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
  -- What scripts are made for, whatever a region runs.
  REDIS_VERSION = '7.0.15', REDIS_VERSION_NUM = 458767,
}

local redis = setmetatable({}, {
  __index = function(_, name)
    if name == 'call' then lastLook = placeAt(1) end
    return fields[name]
  end,
  __newindex = readonly,
  __metatable = false,
})

-- What would differ between regions ----------------------------------------------------------------------------------

-- A table that can be read like another one. What it has can be replaced for this script alone, and nothing be added.
local function sealed(values, replaced)
  local copy = {}
  for name, value in next, values do copy[name] = value end
  for name, value in next, replaced do copy[name] = value end
  return setmetatable(copy, { __newindex = readonly, __metatable = false })
end

local isObject = { table = true, ['function'] = true, userdata = true, thread = true }

local function refuseObject()
  error('a table with tables, functions or the like as its keys has an order that differs between regions', 3)
end

local function hasObjectKey(value)
  for key in next, value do
    if isObject[type(key)] then return true end
  end
  return false
end

local function argumentError(position, name, wanted, ...)
  local found = select('#', ...) < position and 'no value' or type((select(position, ...)))
  error(format("bad argument #%d to '%s' (%s expected, got %s)", position, name, wanted, found), 3)
end

local function allPairs(...)
  local value = ...
  if value == redis then return next, fields, nil end
  if type(value) ~= 'table' then argumentError(1, 'pairs', 'table', ...) end
  if hasObjectKey(value) then refuseObject() end
  return next, value, nil
end

local function following(...)
  local value, key = ...
  if type(value) ~= 'table' then argumentError(1, 'next', 'table', ...) end
  local found, content = next(value, key)
  if isObject[type(found)] then refuseObject() end
  return found, content
end

local function forEach(...)
  local value, visit = ...
  if type(value) ~= 'table' then argumentError(1, 'foreach', 'table', ...) end
  if type(visit) ~= 'function' then argumentError(2, 'foreach', 'function', ...) end
  if hasObjectKey(value) then refuseObject() end
  for key, content in next, value do
    local result = visit(key, content)
    if result ~= nil then return result end
  end
end

local function hasObjectKeyWithin(value, depth)
  if type(value) ~= 'table' or depth > 16 then return false end
  for key, content in next, value do
    if isObject[type(key)] or hasObjectKeyWithin(content, depth + 1) then return true end
  end
  return false
end

local function pack(...)
  for index = 1, select('#', ...) do
    if hasObjectKeyWithin((select(index, ...)), 1) then refuseObject() end
  end
  return cmsgpack.pack(...)
end

local function withMetatable(...)
  local _, meta = ...
  if type(meta) == 'table' and rawget(meta, '__mode') ~= nil then
    error('a table that loses what nobody else holds is not supported: when it does so differs between regions', 2)
  end
  return setmetatable(...)
end

local named, namedCount = setmetatable({}, { __mode = 'k' }), 0

-- Objects are numbered as they are first shown, since their addresses differ.
local function shown(...)
  if select('#', ...) == 0 then error("bad argument #1 to 'tostring' (value expected)", 2) end
  local value = ...
  local text = tostring(value)
  local kind = isObject[type(value)] and type(text) == 'string' and match(text, '^(%a+): 0x%x+$')
  if not kind then return text end
  if not named[value] then
    namedCount = namedCount + 1
    named[value] = namedCount
  end
  return format('%s: 0x%012x', kind, named[value] * 64)
end

local function collect(...)
  local option = ...
  if option == 'count' then
    error("collectgarbage('count') is not supported in a script: its answer differs between regions", 2)
  end
  return 0
end

local function countGarbage()
  error('gcinfo is not supported in a script: its answer differs between regions', 2)
end

-- Random numbers -----------------------------------------------------------------------------------------------------

local MOST, HALF = 2147483647, 16777216
local high, low

-- Redis's own generator of 48 bits, in two halves, so that every server draws the same.
local function seedWith(seed)
  local state = (seed % 4294967296) * 65536 + 13070
  high, low = floor(state / HALF), state % HALF
end

local function drawn()
  local product = 15525485 * low + 11
  local carried = floor(product / HALF)
  high, low = (1502 * low + 15525485 * high + carried) % HALF, product % HALF
  return (high * 128 + floor(low / 131072)) % MOST / MOST
end

local function integerAt(position, name, ...)
  local value = select(position, ...)
  local number = tonumber(value)
  if not number then
    error(format("bad argument #%d to '%s' (number expected, got %s)", position, name, type(value)), 3)
  end
  return number < 0 and nativeMath.ceil(number) or floor(number)
end

local function random(...)
  local count, part = select('#', ...), drawn()
  if count == 0 then return part end
  if count > 2 then error('wrong number of arguments', 2) end
  local first = integerAt(1, 'random', ...)
  local least, most = count == 2 and first or 1, count == 2 and integerAt(2, 'random', ...) or first
  if least > most then error(format("bad argument #%d to 'random' (interval is empty)", count), 2) end
  return floor(part * (most - least + 1)) + least
end

local function randomSeed(...)
  if select('#', ...) == 0 then argumentError(1, 'randomseed', 'number', ...) end
  seedWith(integerAt(1, 'randomseed', ...))
end

-- Texts that become functions ----------------------------------------------------------------------------------------

-- A loop in such a text could go on for ever without anybody counting.
local function canLoop(text)
  for _, word in ipairs({ 'while', 'for', 'repeat', 'function' }) do
    if find(text, word, 1, true) then return true end
  end
  return false
end

local function compiled(text, name)
  if canLoop(text) then
    return nil, 'a text with loops or functions is not supported in loadstring and load: their steps are not counted'
  end
  return given.compile(text, name or text)
end

local function loadText(...)
  local text, name = ...
  if type(text) == 'number' then text = tostring(text) end
  if type(text) ~= 'string' then argumentError(1, 'loadstring', 'string', ...) end
  return compiled(text, name)
end

local function loadPieces(...)
  local read, name = ...
  if type(read) ~= 'function' then argumentError(1, 'load', 'function', ...) end
  local pieces = {}
  local piece = read()
  while piece ~= nil and piece ~= '' do
    if type(piece) ~= 'string' then return nil, 'reader function must return a string' end
    pieces[#pieces + 1] = piece
    piece = read()
  end
  return compiled(table.concat(pieces), name or '=(load)')
end

-- The names ----------------------------------------------------------------------------------------------------------

local steps = given.steps

-- Called wherever a script may come again and again.
local function step()
  steps = steps - 1
  if steps < 0 then stop('ERR the script goes on for too long: it takes more than ' .. given.steps .. ' steps') end
end

seedWith(given.seed)
local values = {
  redis = redis, KEYS = given.keys, ARGV = given.arguments, __lockstep = step,
  load = loadPieces, loadstring = loadText, tostring = shown, pairs = allPairs, next = following,
  setmetatable = withMetatable, collectgarbage = collect, gcinfo = countGarbage,
  math = sealed(nativeMath, { random = random, randomseed = randomSeed }),
  table = sealed(table, { foreach = forEach }),
  cmsgpack = sealed(cmsgpack, { pack = pack }),
  -- An instance of its own, whose settings end with the script.
  cjson = sealed(cjson.new and cjson.new() or cjson, {}),
}

-- Names that are the same everywhere, and lead nowhere else.
local harmless = {}
for name in string.gmatch([[_VERSION assert bit coroutine error getmetatable ipairs pcall rawequal rawget rawset select
  string struct tonumber type unpack xpcall __redis__err__handler]], '%S+') do harmless[name] = true end

local seen = {}
for name, value in next, globals do
  if harmless[name] then
    seen[name] = value
  elseif values[name] == nil and match(name, '^[%a_][%w_]*$') then
    -- What a server has beyond Redis 7.0.
    values[name] = false
  end
end
for name, value in next, values do seen[name] = value or nil end
seen.__lockstep = nil
seen._G = seen
setmetatable(seen, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. shown(name) .. "'", 2)
  end,
  __newindex = readonly,
  __metatable = false,
})
values._G = seen

local function launch(main) return xpcall(main, handled) end

return values, launch, function() return ending, refusal end
