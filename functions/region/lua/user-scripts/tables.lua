-- The table `table` of a user's script, and other functions that iterate over tables: each charges for its work in
-- advance. Sorting follows Lua's own algorithm, so that it gives the same order, and counts each comparison.
--
-- This text belongs to the module that sandbox.lua begins, behind budget.lua. It defines `tables`, the functions by
-- name, and `ownUnpack`, `ownRawset`.
local tables, ownUnpack, ownRawset
do

local natives = table
local ENTRY = 40

local function tableOf(name, own, ...)
  local value = ...
  if type(value) ~= 'table' then asNative(name, own, ...) end
  return value
end

-- Returns a position as the server takes it, which truncates numbers to 32 bits; nil if it is none.
local function placeIn(value, otherwise)
  if value == nil then return otherwise end
  local number = tonumber(value)
  if not number or not (number > -2147483648 and number < 2147483648) then return nil end
  return number < 0 and nativeMath.ceil(number) or floor(number)
end

-- Returns the number of items that move up if an item is inserted at `at`, which may be far below the first one.
local function movedUp(list, at)
  local place = placeIn(at, nil)
  if not place and tonumber(at) then complain('a place is out of range', 2) end
  return place and math.max(#list + 1 - place, 0) or 0
end

-- Returns the number of items that move down if the one at `at` is removed; 0 if there is none.
local function movedDown(list, at)
  local size, place = #list, placeIn(at, nil)
  if not place or place < 1 or place > size then return 0 end
  return size - place
end

local function joinAll(...)
  local list, between, first, last = ...
  tableOf('concat', natives.concat, ...)
  first, last = placeIn(first, 1), placeIn(last, #list)
  if not first or not last then
    -- The server takes numbers out of range for other positions.
    if tonumber((select(3, ...)) or 1) and tonumber((select(4, ...)) or 1) then complain('a place is out of range') end
    asNative('concat', natives.concat, ...)
  end
  local size = (type(between) == 'string' or type(between) == 'number') and #(between .. '') or 0
  local bytes, places = 0, last - first + 1
  local at = first
  while at <= last do
    local item = list[at]
    if type(item) ~= 'string' and type(item) ~= 'number' then break end
    bytes = bytes + size + (type(item) == 'string' and #item or ITEM)
    at = at + 1
    if at % 256 == 0 then spend(32) end
    if bytes > memory then charge(bytes) end
  end
  if places > 0 then charge(bytes) end
  return (finished('concat', pcall(natives.concat, list, between or '', first, last)))
end

local function insertInto(...)
  local list, at = ...
  local count = select('#', ...)
  tableOf('insert', natives.insert, ...)
  memory = memory - ENTRY
  local moved = count == 3 and movedUp(list, at) or 0
  if moved > 8 or memory < 0 then
    charge(0)
    spend(floor(moved / 4))
  end
  if count == 2 then
    rawset(list, #list + 1, at)
    return
  end
  finished('insert', pcall(natives.insert, ...))
end

local function removeFrom(...)
  local list, at = ...
  tableOf('remove', natives.remove, ...)
  if at ~= nil then spend(1 + floor(movedDown(list, at) / 8)) end
  return finished('remove', pcall(natives.remove, ...))
end

local function greatest(...)
  local most = 0
  for key in next, (tableOf('maxn', natives.maxn, ...)) do
    spend(1)
    if type(key) == 'number' and key > most then most = key end
  end
  return most
end

local function eachItem(...)
  local list, visit = ...
  tableOf('foreachi', natives.foreachi, ...)
  if type(visit) ~= 'function' then asNative('foreachi', natives.foreachi, ...) end
  for index = 1, #list do
    spend(1)
    local result = visit(index, list[index])
    if result ~= nil then return result end
  end
end

-- Sorting -------------------------------------------------------------------------------------------------------------

local function isLess(a, b) return a < b end

-- The server's locale compares strings, at a cost that grows with their length.
local function plainly(a, b)
  spend(1)
  local kind = type(a)
  if kind == type(b) and (kind == 'number' or kind == 'string') then
    if kind == 'string' and #a > 64 and #b > 64 then spend(floor(math.min(#a, #b) / 64)) end
    return a < b
  end
  local isDone, answer = pcall(isLess, a, b)
  if isDone then return answer end
  error((string.gsub(tostring(answer), '^user_script:%d+: ', '')), 0)
end

-- Sorts the lowest, the middle and the highest item of a stretch. Returns the middle one.
local function middleOf(list, low, high, isBefore)
  if isBefore(list[high], list[low]) then list[low], list[high] = list[high], list[low] end
  if high - low == 1 then return nil end
  local middle = floor((low + high) / 2)
  if isBefore(list[middle], list[low]) then
    list[middle], list[low] = list[low], list[middle]
  elseif isBefore(list[high], list[middle]) then
    list[middle], list[high] = list[high], list[middle]
  end
  if high - low == 2 then return nil end
  local pivot = list[middle]
  list[middle], list[high - 1] = list[high - 1], list[middle]
  return pivot
end

-- Partitions a stretch by its pivot. Returns the pivot's position.
local function parted(list, low, high, pivot, isBefore)
  local up, down = low, high - 1
  while true do
    up = up + 1
    while isBefore(list[up], pivot) do
      if up > high then complain('invalid order function for sorting', 3) end
      up = up + 1
    end
    down = down - 1
    while isBefore(pivot, list[down]) do
      if down < low then complain('invalid order function for sorting', 3) end
      down = down - 1
    end
    if down < up then break end
    list[up], list[down] = list[down], list[up]
  end
  list[high - 1], list[up] = list[up], list[high - 1]
  return up
end

local function sortStretch(list, low, high, isBefore)
  while low < high do
    local pivot = middleOf(list, low, high, isBefore)
    if pivot == nil then return end
    local at = parted(list, low, high, pivot, isBefore)
    -- Recurses into the shorter side only, so that the stack stays small.
    if at - low < high - at then
      sortStretch(list, low, at - 1, isBefore)
      low = at + 1
    else
      sortStretch(list, at + 1, high, isBefore)
      high = at - 1
    end
  end
end

-- The server sorts a short list of short items: in the worst case it compares each with each.
local function isSmall(list)
  local longest = 0
  for index = 1, #list do
    local item = list[index]
    if type(item) == 'table' then return false end
    if type(item) == 'string' and #item > longest then longest = #item end
  end
  spend(1 + floor(#list * #list / 16) * (1 + floor(longest / 64)))
  return true
end

local function sortList(...)
  local list, isBefore = ...
  tableOf('sort', natives.sort, ...)
  if isBefore ~= nil and type(isBefore) ~= 'function' then asNative('sort', natives.sort, ...) end
  if isBefore == nil and #list <= 100 and isSmall(list) then
    local isDone, failure = pcall(natives.sort, list)
    if not isDone then error(failure, 0) end
    return
  end
  local compare = isBefore and function(a, b)
    spend(1)
    return isBefore(a, b)
  end or plainly
  sortStretch(list, 1, #list, compare)
end

-- Lists ---------------------------------------------------------------------------------------------------------------

function ownUnpack(...)
  local list, first, last = ...
  if type(list) ~= 'table' then asNative('unpack', unpack, ...) end
  local count = (tonumber(last) or #list) - (tonumber(first) or 1) + 1
  if count <= 8 and first == nil and last == nil then return unpack(list) end
  -- The server truncates positions in its own way, and returns at most 8,000 values.
  charge((count > 8 and count < 8000 and count or 8000) * ITEM)
  return finished('unpack', pcall(unpack, ...))
end

function ownRawset(...)
  if getmetatable((...)) == OWN then error('Attempt to modify a readonly table', 0) end
  keyed((select(2, ...)))
  step(1, ENTRY)
  return finished('rawset', pcall(rawset, ...))
end

tables = {
  concat = joinAll, insert = insertInto, remove = removeFrom, maxn = greatest, foreachi = eachItem, sort = sortList,
  getn = natives.getn, setn = natives.setn,
}

end
