-- What a user's script sees that could tell one region from another: the same everywhere, or refused by name. It ends
-- the module that sight.lua begins, whose header says what it is given and returns.
--
-- Objects have other addresses in each region, which show in their texts and in the order of tables that have them as
-- keys; memory is freed at other times; chance is another one. Loops in texts that a script compiles are not counted.

-- A table that can be read like another one. What it has can be replaced for this script alone, and nothing be added.
local function sealed(values, replaced)
  local copy = {}
  for name, value in next, values do copy[name] = value end
  for name in next, replaced do copy[name] = nil end
  local function find(_, name)
    if replaced[name] then lastLook = placeAt(1) end
    return replaced[name]
  end
  local all = {}
  for name, value in next, values do all[name] = replaced[name] or value end
  setmetatable(copy, { __index = find, __newindex = readonly, __metatable = OWN })
  contents[copy] = all
  return copy
end

local isObject = { table = true, ['function'] = true, userdata = true, thread = true }

local function refuseObject()
  complain('a table with tables, functions or the like as its keys has an order that differs between regions', 2)
end

local function hasObjectKey(value)
  for key in next, value do
    if isObject[type(key)] then return true end
  end
  return false
end

local function argumentError(position, name, wanted, ...)
  local found = select('#', ...) < position and 'no value' or type((select(position, ...)))
  complain(format("bad argument #%d to '%s' (%s expected, got %s)", position, name, wanted, found), 2)
end

local function allPairs(...)
  local value = ...
  if type(value) ~= 'table' then argumentError(1, 'pairs', 'table', ...) end
  if hasObjectKey(value) then refuseObject() end
  return next, contents[value] or value, nil
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
    complain('a table that loses what nobody else holds is not supported: when it does so differs between regions')
  end
  if getmetatable((...)) == OWN then complain('Attempt to modify a readonly table') end
  return setmetatable(...)
end

local function metatableOf(...)
  if select('#', ...) == 0 then complain("bad argument #1 to 'getmetatable' (value expected)") end
  local meta = getmetatable((...))
  if meta ~= OWN then return meta end
  return nil
end

local named, namedCount = setmetatable({}, { __mode = 'k' }), 0

-- Objects are numbered as they are first shown, since their addresses differ.
local function shown(...)
  if select('#', ...) == 0 then complain("bad argument #1 to 'tostring' (value expected)") end
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

local collecting = { stop = true, restart = true, collect = true, step = true, setpause = true, setstepmul = true }

local function collect(...)
  local option = ... or 'collect'
  if option == 'count' then
    complain("collectgarbage('count') is not supported in a script: its answer differs between regions")
  end
  if not collecting[option] then
    complain(format("bad argument #1 to 'collectgarbage' (invalid option '%s')", tostring(option)))
  end
  return 0
end

local function countGarbage()
  complain('gcinfo is not supported in a script: its answer differs between regions')
end

-- Random numbers ------------------------------------------------------------------------------------------------------

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
    complain(format("bad argument #%d to '%s' (number expected, got %s)", position, name, type(value)), 2)
  end
  return number < 0 and nativeMath.ceil(number) or floor(number)
end

local function random(...)
  local count, part = select('#', ...), drawn()
  if count == 0 then return part end
  if count > 2 then complain('wrong number of arguments') end
  local first = integerAt(1, 'random', ...)
  local least, most = count == 2 and first or 1, count == 2 and integerAt(2, 'random', ...) or first
  if least > most then complain(format("bad argument #%d to 'random' (interval is empty)", count)) end
  return floor(part * (most - least + 1)) + least
end

local function randomSeed(...)
  if select('#', ...) == 0 then argumentError(1, 'randomseed', 'number', ...) end
  seedWith(integerAt(1, 'randomseed', ...))
end

-- Texts that become functions -----------------------------------------------------------------------------------------

-- A loop in such a text could go on for ever without anybody counting.
local function canLoop(text)
  for _, word in ipairs({ 'while', 'for', 'repeat', 'function' }) do
    if find(text, word, 1, true) then return true end
  end
  return false
end

local function compiled(text, name)
  if string.byte(text, 1) ~= 27 and canLoop(text) then
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

-- Steps --------------------------------------------------------------------------------------------------------------

-- How many steps are left when the clock is looked at next, and how many lie between two looks: few where they take
-- long.
local nextLook, stride = steps, 1

-- Called wherever a script may come again and again.
local function step()
  steps = steps - 1
  if steps < 0 then stop('ERR the script goes on for too long: it takes more than ' .. given.steps .. ' steps') end
  if steps > nextLook then return end
  stride = given.look(stop) < 5 and math.min(stride * 2, 100) or math.max(floor(stride / 2), 1)
  nextLook = steps - stride
end

-- What pcall gives ----------------------------------------------------------------------------------------------------

local function withText(isDone, ...)
  local raised = ...
  if isDone or type(raised) ~= 'table' or rawget(raised, 'err') == nil then return isDone, ... end
  return false, rawget(raised, 'err')
end

-- Redis 7.0 gives the text of an error in place of its table. Servers that give the table get this one instead.
local function textOfErrors(...) return withText(pcall(...)) end

local _, caught = pcall(error, { err = 'text' })

-- The names ----------------------------------------------------------------------------------------------------------

seedWith(given.seed)
values = {
  redis = redis, KEYS = given.keys, ARGV = given.arguments, __lockstep = step,
  load = loadPieces, loadstring = loadText, tostring = shown, pairs = allPairs, next = following,
  setmetatable = withMetatable, getmetatable = metatableOf, collectgarbage = collect, gcinfo = countGarbage,
  math = sealed(nativeMath, { random = random, randomseed = randomSeed }),
  table = sealed(table, { foreach = forEach }),
  cmsgpack = sealed(cmsgpack, { pack = pack }),
  pcall = type(caught) == 'table' and textOfErrors or nil,
  -- An instance of its own, whose settings end with the script.
  cjson = sealed(cjson.new and cjson.new() or cjson, {}),
}

-- Names that are the same everywhere, and lead nowhere else.
local harmless = {}
for name in string.gmatch([[_VERSION assert bit coroutine error ipairs pcall rawequal rawget rawset select
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
    complain("Script attempted to access nonexistent global variable '" .. shown(name) .. "'")
  end,
  __newindex = readonly,
  __metatable = OWN,
})
values._G = seen

local function launch(main) return xpcall(main, handled) end

return values, launch, function() return ending, refusal end
