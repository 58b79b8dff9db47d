-- The environment of a user's script, in place of Redis's own globals: a script can reach nothing beyond it, and read
-- nothing that differs between regions.
--
-- This text and those that lua-bundle.ts puts behind it are a module: it makes them a function's body. run.lua calls
-- it with
--  { keys, arguments, seed, steps, memory, errorBytes, lines, place, perform, look, compile, isKnown }
--  lines     the number of lines of the script
--  place     the place of an error if no function knows it: the script's only line, or ''
--  perform   runs a command of redis.call: returns the reply, or nil and the text of the error
--  look      ends the script if its time is over; returns the ms since the last call
--  compile   compiles a text to a function that sees the same names
--  isKnown   returns whether Redis has a command of this name
-- Returns the values by name; a function that launches the script; and one that returns why the script was ended, the
-- server's refusal, and whether a command was cut off half-way.
local given = ...
local format, match, find = string.format, string.match, string.find
local error, floor, next, pcall, rawget, select, type = error, math.floor, next, pcall, rawget, select, type
local globals, native, nativeMath = _G, redis, math

-- Errors --------------------------------------------------------------------------------------------------------------

-- The reason why the script must not continue, even if it catches errors; and the server's own error, if that is it.
local ending, refusal
local steps = given.steps

local function stop(reason)
  ending, steps = ending or reason, 0
  error(ending, 0)
end

-- Returns the place of the function `level` levels above the caller of this one, as `name:line: `. It is '' for a
-- function of C, and for one that made a tail call and so has left the stack.
local function placeAt(level)
  local _, place = pcall(error, '', level + 3)
  return place
end

-- The place of the script's last access to a field of `redis`: the place of a command that it called by a tail call.
local lastLook = given.place

-- The places of errors that commands have raised.
local places = setmetatable({}, { __mode = 'k' })

-- Redis gives Lockstep's script and the user's the same name, so line numbers distinguish them: this one's are above
-- those of any text that is not very long.
local function isOwn(place)
  local line = match(place, '^user_script:(%d+): $')
  return line ~= nil and tonumber(line) > given.lines
end

-- Returns the place in the script of the error that is being handled, and whether a function of this module raised it
-- for the script. Levels beyond the next function of this module do not belong to the script.
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

-- Renames upvalues in errors: locals of the text around the script are globals to Redis.
local values
local function kindOf(name) return values[name] ~= nil and "global '" .. name .. "'" or nil end

-- Errors are for people, and are stored in fields of limited size.
local function shortened(message) return sub(message, 1, given.errorBytes) end

-- Handles an error that the script did not catch: returns its text and its place.
local function handled(raised)
  local place, isByOwn = placeOfError()
  -- Addresses differ between regions.
  if type(raised) ~= 'table' then
    local message = string.gsub(shortened(tostring(raised)), '^(%a+): 0x%x+$', '%1')
    -- The stack may end in a function of this module that the script called.
    local prefix = match(message, '^user_script:%d+: ')
    if prefix and isOwn(prefix) then message = place .. sub(message, #prefix + 1) end
    return { message = 'ERR ' .. string.gsub(message, "upvalue '([%w_]+)'", kindOf), place = place }
  end
  local message = rawget(raised, 'err')
  if type(message) == 'number' then message = tostring(message) end
  if type(message) ~= 'string' then message = 'ERR a table was raised that has no text as its err' end
  return { message = shortened(message), place = isByOwn and places[raised] or place }
end

-- True while a function runs that was called as a method: then the object is its first argument.
local isMethod = false

local function ofMethod(message)
  isMethod = false
  return (string.gsub(message, "^bad argument #(%d+) to ('[^']*') (%b())", function(position, name, reason)
    if position == '1' then return 'calling ' .. name .. ' on bad self ' .. reason end
    return 'bad argument #' .. position - 1 .. ' to ' .. name .. ' ' .. reason
  end))
end

local function ended(...)
  isMethod = false
  return ...
end

local function asMethod(own, ...)
  isMethod = true
  return ended(own(...))
end

-- Raises an error as a function of C would: at the place in the script that called the caller of this function, even
-- if other functions of this module are in between.
local function complain(message, level)
  level = (level or 1) + 1
  local place = placeAt(level)
  while (place == '' or isOwn(place)) and level < 12 do
    level = level + 1
    place = placeAt(level)
  end
  if isMethod then message = ofMethod(message) end
  error(((place == '' or isOwn(place)) and lastLook or place) .. message, 0)
end

local function readonly() complain('Attempt to modify a readonly table') end

-- Commands ------------------------------------------------------------------------------------------------------------

local function failureOf(message) return { err = message, ignore_error_stats_update = true } end

-- Charge for bytes, and for the reply of a command; budget.lua defines them.
local charge, charged

-- True while a command runs. If it still is when the script continues, the end of the stack cut the command off
-- half-way.
local isInside = false

local function run(...)
  if ending then error(ending, 0) end
  if isInside then stop('ERR stack overflow') end
  isInside = true
  local isDone, reply, failure = pcall(given.perform, stop, charge, charged, ...)
  if isDone then
    isInside = false
    return charged(reply), failure
  end
  -- A recursion that is too deep is the script's own fault; any other error comes from the server.
  local isTooDeep = find(tostring(reply), 'stack overflow', 1, true)
  isInside = isTooDeep and not ending
  if not ending and not isTooDeep then refusal = reply end
  stop(isTooDeep and 'ERR stack overflow' or reply)
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

-- Functions that check their arguments as Redis's do, and have no effect.
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
  for index = 1, select('#', ...) do
    local word = select(index, ...)
    if type(word) == 'string' then charge(2 * #word) end
  end
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
  -- The version that scripts are written for, independent of the region's server.
  REDIS_VERSION = '7.0.15', REDIS_VERSION_NUM = 458767,
}

-- The value that getmetatable returns for tables that have no metatable in Redis.
local OWN = 'lockstep'
-- The contents of tables that the script reads through a metatable.
local contents = {}

local redis = setmetatable({}, {
  __index = function(_, name)
    local field = fields[name]
    if type(field) == 'function' then lastLook = placeAt(1) end
    return field
  end,
  __newindex = readonly,
  __metatable = OWN,
})

contents[redis] = fields
