-- What makes one text of many values, or values of a text: cjson, cmsgpack and struct. The server's own functions go
-- through all of a value at once, so it is gone through here first, with each item charged for.
--
-- This text belongs to the module that sandbox.lua begins, behind budget.lua. It sets `packs`: the functions of each of
-- these tables by their names.
local packs
do

-- Going through an item takes so many steps, and the server's own function some more.
local STEPS_PER_ITEM = 8
-- What an item takes as a text, and what a value that is read from one takes, in bytes.
local PACKED, READ = 24, 72
-- Deeper than this neither cjson nor the way through a value goes; and cmsgpack.
local DEEPEST, DEEPEST_PACKED = 3000, 16
-- A longer text of cmsgpack is not read: a byte of it may stand for a table.
local UNPACKED_BYTES = 1000000

local function weighText(text, isJson)
  local bytes = #text + PACKED
  if isJson and #text > 0 then
    spend(floor(#text / 256))
    -- Six bytes for one.
    if find(text, '[%c"\\/\127]') then bytes = bytes + 5 * select(2, string.gsub(text, '[%c"\\/\127]', '')) end
  end
  charge(bytes)
end

local weigh

local function weighTable(value, depth, isJson)
  local items, greatest, isList = 0, 0, true
  for key, content in next, value do
    items = items + 1
    if not isJson and isObject[type(key)] then refuseObject() end
    if type(key) ~= 'number' or key < 1 or key ~= floor(key) then isList = false end
    if type(key) == 'number' and key > greatest then greatest = key end
    weigh(key, depth + 1, isJson)
    weigh(content, depth + 1, isJson)
  end
  -- A list with holes may be filled up.
  if isJson and isList and greatest > items then charge((greatest - items) * 5) end
end

function weigh(value, depth, isJson)
  spend(STEPS_PER_ITEM)
  local kind = type(value)
  if kind == 'string' then
    weighText(value, isJson)
  elseif kind == 'table' then
    if depth <= (isJson and DEEPEST or DEEPEST_PACKED) then weighTable(value, depth, isJson) end
  else
    charge(PACKED)
  end
end

local function weighAll(isJson, ...)
  local values = { ... }
  for index = 1, select('#', ...) do weigh(values[index], 1, isJson) end
end

local function packer(name, own, isJson)
  return own and function(...)
    weighAll(isJson, ...)
    return finished(name, pcall(own, ...))
  end
end

-- A reader of a text; `cost` tells what its values take at most.
local function reader(name, own, cost)
  return own and function(...)
    for index = 1, math.min(select('#', ...), 2) do
      local text = select(index, ...)
      if type(text) == 'string' then cost(text) end
    end
    return finished(name, pcall(own, ...))
  end
end

local function costOfJson(text)
  charge(#text)
  charge(select(2, string.gsub(text, '[%[{,:]', '')) * READ)
end

-- A byte of these is a list or a map, as long as it is no part of a text.
local LISTS, TABLE = '[\128-\159\220-\223]', 56

local function costOfPacked(text)
  if #text > UNPACKED_BYTES then
    stop('ERR a text for cmsgpack is too long: it has more than ' .. UNPACKED_BYTES .. ' bytes')
  end
  charge(#text * ITEM)
  charge(select(2, string.gsub(text, LISTS, '')) * TABLE)
end

local function costOfFields(text) charge(#text * ITEM) end

-- Sums up what a form and its arguments take.
local function fieldPacker(name, own)
  return own and function(...)
    local values = { ... }
    for index = 1, select('#', ...) do
      local value = values[index]
      charge(type(value) == 'string' and #value * 2 or PACKED)
    end
    return finished(name, pcall(own, ...))
  end
end

-- What an instance of cjson has. Its settings are its own; another instance is another one of these.
local jsonOf
function jsonOf(own)
  local functions = {}
  for name, value in next, own do
    if type(value) ~= 'function' or find(name, '^[de][en]code_') then functions[name] = value end
  end
  functions.encode = packer('encode', own.encode, true)
  functions.decode = reader('decode', own.decode, costOfJson)
  functions.new = own.new and function() return sealed(jsonOf(own.new())) end
  return functions
end

local fields = type(struct) == 'table' and struct or {}
packs = {
  jsonOf = jsonOf,
  cmsgpack = {
    pack = packer('pack', cmsgpack.pack, false),
    unpack = reader('unpack', cmsgpack.unpack, costOfPacked),
    unpack_one = reader('unpack_one', cmsgpack.unpack_one, costOfPacked),
    unpack_limit = reader('unpack_limit', cmsgpack.unpack_limit, costOfPacked),
  },
  struct = {
    pack = fieldPacker('pack', fields.pack),
    unpack = reader('unpack', fields.unpack, costOfFields),
    size = reader('size', fields.size, costOfFields),
  },
}

end
