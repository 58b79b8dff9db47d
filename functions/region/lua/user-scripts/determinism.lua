-- Functions of a user's script whose results could differ between regions: they give the same result everywhere, or
-- refuse by name. This text belongs to the module that sandbox.lua begins, behind budget.lua.
--
-- Regions differ in the addresses of objects, which show in their texts and in the order of tables that have objects
-- as keys; in the moments at which memory is freed; and in random numbers.

-- Returns a read-only view of a table.
local function sealed(values)
  local copy = setmetatable({}, { __index = values, __newindex = readonly, __metatable = OWN })
  contents[copy] = values
  return copy
end

local isObject = { table = true, ['function'] = true, userdata = true, thread = true }

local function refuseObject()
  complain('a table with tables, functions or the like as its keys has an order that differs between regions', 2)
end

local function hasObjectKey(value)
  local count = 0
  for key in next, value do
    count = count + 1
    if isObject[type(key)] then return true end
  end
  spend(floor(count / 8))
  return false
end

local function argumentError(position, name, wanted, ...)
  local found = select('#', ...) < position and 'no value' or type((select(position, ...)))
  complain(format("bad argument #%d to '%s' (%s expected, got %s)", position, name, wanted, found), 2)
end

local following

local function allPairs(...)
  local value = ...
  if type(value) ~= 'table' then argumentError(1, 'pairs', 'table', ...) end
  spend(1)
  if hasObjectKey(value) then refuseObject() end
  -- A script must not get the table on which Lockstep relies.
  if contents[value] then return following, value, nil end
  return next, value, nil
end

function following(...)
  local value, key = ...
  if type(value) ~= 'table' then argumentError(1, 'next', 'table', ...) end
  -- The server may skip any number of empty slots.
  spend(1)
  local found, content = next(contents[value] or value, key)
  if isObject[type(found)] then refuseObject() end
  return found, content
end

local function forEach(...)
  local value, visit = ...
  if type(value) ~= 'table' then argumentError(1, 'foreach', 'table', ...) end
  if type(visit) ~= 'function' then argumentError(2, 'foreach', 'function', ...) end
  if hasObjectKey(value) then refuseObject() end
  for key, content in next, contents[value] or value do
    spend(1)
    local result = visit(key, content)
    if result ~= nil then return result end
  end
end

local function withMetatable(...)
  local _, meta = ...
  if type(meta) == 'table' and rawget(meta, '__mode') ~= nil then
    complain(WEAK)
  end
  if getmetatable((...)) == OWN then complain('Attempt to modify a readonly table') end
  return setmetatable(...)
end

local function metatableOf(...)
  if select('#', ...) == 0 then complain("bad argument #1 to 'getmetatable' (value expected)") end
  -- The metatable of strings belongs to the server, and all of its scripts share it.
  if type((...)) == 'string' then return nil end
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
