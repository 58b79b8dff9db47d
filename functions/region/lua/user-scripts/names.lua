-- The names that a user's script sees. This text ends the module that sandbox.lua begins; the header there lists its
-- arguments and results.
--
-- A text that a script compiles itself is not rewritten, so it must not loop, make strings, or reach functions of the
-- server.

-- Texts that become functions -----------------------------------------------------------------------------------------

-- Loops and functions can repeat, `..` and constructors allocate, and strings and tables lead to functions of the
-- server by `:`, `[` and their names.
local function needsCounting(text)
  for _, word in ipairs({ 'while', 'for', 'repeat', 'function', '[', '{', ':', '__lockstep', '__mode' }) do
    if find(text, word, 1, true) then return true end
  end
  if find(string.gsub(text, '%.%.%.', ''), '..', 1, true) then return true end
  for name in string.gmatch(text, '%.%s*([%a_]+)') do
    if string[name] then return true end
  end
  -- A comment may stand between a name and its dot.
  return find(text, '--', 1, true) ~= nil
end

local function compiled(text, name)
  charge(#text * 8)
  spend(#text)
  if string.byte(text, 1) ~= 27 and needsCounting(text) then
    return nil, 'a text with loops, functions, tables, methods or .. is not supported in loadstring and load: '
      .. 'their steps are not counted'
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
    charge(#piece + 16)
    pieces[#pieces + 1] = piece
    piece = read()
  end
  return compiled(table.concat(pieces), name or '=(load)')
end

-- Results of pcall --------------------------------------------------------------------------------------------------

local function withText(isDone, ...)
  local raised = ...
  if isDone or type(raised) ~= 'table' or rawget(raised, 'err') == nil then return isDone, ... end
  return false, rawget(raised, 'err')
end

-- Redis 7.0 returns the text of an error instead of its table. Servers that return the table get this function
-- instead.
local function textOfErrors(...) return withText(pcall(...)) end

local _, caught = pcall(error, { err = 'text' })

-- The names ----------------------------------------------------------------------------------------------------------

-- Returns a copy of a server's table with some of its functions replaced.
local function withOwn(from, replaced)
  local fields = {}
  for name, value in next, from do fields[name] = value end
  for name, value in next, replaced do fields[name] = value end
  return sealed(fields)
end

-- The same without functions that are unknown here: a server may have more.
local function only(from, replaced)
  local fields = {}
  for name, value in next, from do
    if type(value) ~= 'function' then fields[name] = value end
  end
  for name, value in next, replaced do fields[name] = value end
  return sealed(fields)
end

-- The bytes of a coroutine's stack.
local COROUTINE = 2000
local function begun(own)
  return function(...)
    if type((...)) ~= 'function' then asNative('create', own, ...) end
    charge(COROUTINE)
    running = coroutine.running
    return own(...)
  end
end

local function ownRawget(...)
  local value, key = ...
  if contents[value] then return contents[value][key] end
  return guarded((finished('rawget', pcall(rawget, ...))))
end

local function digest(...)
  local value = ...
  if type(value) == 'string' then spend(1 + floor(#value / 32)) end
  return native.sha1hex(...)
end

local function replying(own)
  return function(...)
    local value = ...
    if type(value) == 'string' then charge(#value) end
    return own(...)
  end
end

-- An error's text starts with its place.
local function placeOrNone(level)
  local place = placeAt(level + 1)
  return isOwn(place) and '' or place
end

local function raise(...)
  local message, level = ...
  if type(message) == 'number' then message = tostring(message) end
  if type(message) == 'table' then places[message] = nil end
  if type(message) ~= 'string' then error(message, 0) end
  charge(#message)
  if level ~= nil and not tonumber(level) then argumentError(2, 'error', 'number', ...) end
  level = floor(tonumber(level) or 1)
  error((level > 0 and level < 100 and placeOrNone(level) or '') .. message, 0)
end

local function asserted(...)
  if (...) then return ... end
  if select('#', ...) == 0 then complain("bad argument #1 to 'assert' (value expected)") end
  local message = select(2, ...)
  if message == nil then message = 'assertion failed!' end
  if type(message) == 'number' then message = tostring(message) end
  if type(message) ~= 'string' then argumentError(2, 'assert', 'string', ...) end
  charge(#message)
  error(placeOrNone(1) .. message, 0)
end

local function number(...)
  local value = ...
  if type(value) == 'string' and #value > 64 then spend(floor(#value / 64)) end
  if select('#', ...) == 1 then return (tonumber(value)) end
  return finished('tonumber', pcall(tonumber, ...))
end

fields.sha1hex, fields.error_reply = digest, replying(native.error_reply)
fields.status_reply = replying(native.status_reply)

tables.foreach = forEach
seedWith(given.seed)
values = {
  redis = redis, KEYS = given.keys, ARGV = given.arguments,
  __lockstep = step, __lockstep_f = enter, __lockstep_v = enterWith, __lockstep_a = enterWithTable,
  __lockstep_o = compared, __lockstep_k = keyed, __lockstep_w = weak, __lockstep_c = joined,
  __lockstep_t = counted, __lockstep_g = guarded,
  __lockstep_m = method, __lockstep_p = placed, __lockstep_x = notRead,
  load = loadPieces, loadstring = loadText, tostring = shown, pairs = allPairs, next = following,
  setmetatable = withMetatable, getmetatable = metatableOf, collectgarbage = collect, gcinfo = countGarbage,
  error = raise, assert = asserted, tonumber = number, rawget = ownRawget, rawset = ownRawset, unpack = ownUnpack,
  math = withOwn(nativeMath, { random = random, randomseed = randomSeed }),
  table = only(table, tables),
  string = only(string, texts),
  bit = withOwn(bit, {}),
  coroutine = withOwn(coroutine, { create = begun(coroutine.create), wrap = begun(coroutine.wrap) }),
  cmsgpack = only(cmsgpack, packs.cmsgpack),
  struct = type(struct) == 'table' and only(struct, packs.struct) or nil,
  pcall = type(caught) == 'table' and textOfErrors or nil,
  -- An instance for this script alone, whose settings end with it.
  cjson = sealed(packs.jsonOf(cjson.new and cjson.new() or cjson)),
}

-- Names whose values are equal in every region, and do not lead to others.
local harmless = {}
for name in string.gmatch([[_VERSION ipairs pcall rawequal select
  type xpcall __redis__err__handler]], '%S+') do harmless[name] = true end

local seen = {}
for name, value in next, globals do
  if harmless[name] then
    seen[name] = value
  elseif values[name] == nil and match(name, '^[%a_][%w_]*$') then
    -- Names that a server has beyond Redis 7.0.
    values[name] = false
  end
end
for name, value in next, values do seen[name] = value or nil end
for name in next, values do
  if find(name, '^__lockstep') then seen[name] = nil end
end
seen._G = seen
setmetatable(seen, {
  __index = function(_, name)
    complain("Script attempted to access nonexistent global variable '" .. shown(name) .. "'")
  end,
  __newindex = readonly,
  __metatable = OWN,
})
values._G = seen

local function launch(main) return xpcall(main, handled) end

return values, launch, function()
  if isInside and not ending then ending = 'ERR stack overflow' end
  return ending, refusal, isInside
end
