-- The libraries cjson, cmsgpack and struct of a user's script, which pack values into one text and unpack them. The
-- server's own functions process a value at once, so these functions walk it first and charge for each item.
--
-- This text belongs to the module that sandbox.lua begins, behind budget.lua. It defines `packs`, the functions of
-- each library by name.
local packs
do

-- The steps per item: for the walk, and for the server's own function behind it.
local STEPS_PER_ITEM = 8
-- The bytes of an item in a text, and those of a value that a text is unpacked to.
local PACKED, READ = 24, 72
-- The greatest depth of cjson and of the walk; and that of cmsgpack.
local DEEPEST, DEEPEST_PACKED = 3000, 16
-- The longest text that cmsgpack unpacks: each of its bytes may stand for a table.
local UNPACKED_BYTES = 1000000

local function weighText(text, isJson)
  local bytes = #text + PACKED
  if isJson and #text > 0 then
    spend(floor(#text / 256))
    -- Escapes take six bytes per byte.
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
  -- JSON fills the holes of a list.
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

-- A function that unpacks a text; `cost` charges for its values in advance.
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

-- Each of these bytes is a list or a map, unless it belongs to a string.
local LISTS, TABLE = '[\128-\159\220-\223]', 56

local function costOfPacked(text)
  if #text > UNPACKED_BYTES then
    stop('ERR a text for cmsgpack is too long: it has more than ' .. UNPACKED_BYTES .. ' bytes')
  end
  charge(#text * ITEM)
  charge(select(2, string.gsub(text, LISTS, '')) * TABLE)
end

local function costOfFields(text) charge(#text * ITEM) end

-- A function that packs arguments by a format: charges for all of them.
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

-- The functions of an instance of cjson. An instance has its own settings.
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
