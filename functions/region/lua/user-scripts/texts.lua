-- The table `string` of a user's script: each function charges for its work and its result in advance, and most then
-- call the server's own function.
--
-- This text belongs to the module that sandbox.lua begins, behind patterns.lua. It defines `texts`, the functions by
-- name; `guarded`, which replaces the server's own functions in values that a script reads; and `method`, which finds
-- a function as a method.
local texts, guarded, method
do

local strings = string
-- The greatest result of %d and its like, in bytes, and of %q per byte.
local FORMATTED, QUOTED = 512, 4

local function textOf(value)
  if type(value) == 'number' then return value .. '' end
  return value
end

-- Returns the number of a position or count, truncated as the server does, or nil. NaN becomes 0: the server takes it
-- for the least integer, which is as invalid as 0.
local function wholeOf(value)
  local number = tonumber(value)
  if not number then return nil end
  if number ~= number then return 0 end
  return number < 0 and nativeMath.ceil(number) or floor(number)
end

-- Charges for work in proportion to a text.
local function chargeFor(text) spend(1 + floor(#text / 256)) end

-- A function of one text whose result has the same size.
local function simple(name)
  local own = strings[name]
  return function(...)
    local text = textOf((...))
    if type(text) ~= 'string' then return asNative(name, own, ...) end
    charge(#text)
    return (own(...))
  end
end

-- Returns the text, the pattern, and the first position, converted as the server does.
local function prepared(name, own, hasPlace, ...)
  local text, pattern, from = ...
  if not hasPlace then from = nil end
  text, pattern = textOf(text), textOf(pattern)
  local at = from == nil and 1 or wholeOf(from)
  if type(text) ~= 'string' or type(pattern) ~= 'string' or not at then asNative(name, own, ...) end
  if at < 0 then at = math.max(#text + at + 1, 1) end
  return text, pattern, math.min(math.max(at, 1), #text + 1)
end

local function findPlain(text, pattern, from)
  local left = #text - from + 1
  spend(1 + floor(left / 64) + floor(left * #pattern / 1024))
  return find(text, pattern, from, true)
end

local function isWithoutSpecials(pattern)
  chargeFor(pattern)
  local zero = find(pattern, '%z')
  return not find(zero and sub(pattern, 1, zero - 1) or pattern, '[%^%$%*%+%?%.%(%[%%%-]')
end

local function findText(...)
  local text, pattern, from = prepared('find', strings.find, true, ...)
  if (select(4, ...)) or isWithoutSpecials(pattern) then return findPlain(text, pattern, from) end
  local found = matchAt(text, patternOf(pattern, true), from, false)
  if not found then return nil end
  return found.first, found.last, allCaptures(found)
end

local function matchText(...)
  local text, pattern, from = prepared('match', strings.match, true, ...)
  local found = matchAt(text, patternOf(pattern, true), from, true)
  if not found then return nil end
  return allCaptures(found)
end

local function matchEach(...)
  local text, pattern = prepared('gmatch', strings.gmatch, false, ...)
  local read, from = patternOf(pattern, false), 1
  return function()
    if from > #text + 1 then return nil end
    local found = matchAt(text, read, from, true)
    if not found then
      from = #text + 2
      return nil
    end
    from = math.max(found.last, found.first) + 1
    return allCaptures(found)
  end
end

-- Returns the replacement of a match, with the captures that `repl` names in it.
local function expanded(repl, found, whole)
  local pieces, from = {}, 1
  while true do
    local at = find(repl, '%', from, true)
    if not at then break end
    local sign = sub(repl, at + 1, at + 1)
    insert(pieces, sub(repl, from, at - 1))
    local piece = sign == '' and '\0' or sign
    if sign == '0' then
      piece = whole
    elseif match(sign, '^%d$') then
      local number = tonumber(sign)
      piece = found.captures[number]
      if piece == false then complain('unfinished capture', 3) end
      if piece == nil and number == 1 then piece = whole end
      if not piece then complain('invalid capture index', 3) end
    end
    piece = piece .. ''
    charge(#piece + 16)
    insert(pieces, piece)
    from = at + 2
  end
  insert(pieces, sub(repl, from))
  charge(#repl)
  return concat(pieces)
end

local function replacement(repl, found, whole)
  local kind, value = type(repl), nil
  if kind == 'function' then
    if #found.captures == 0 then value = repl(whole) else value = repl(allCaptures(found)) end
  elseif kind == 'table' then
    local first = found.captures[1]
    if first == nil then first = whole end
    if not first then complain('unfinished capture', 3) end
    value = repl[first]
  else
    return expanded(repl .. '', found, whole)
  end
  if not value then return whole end
  if type(value) ~= 'string' and type(value) ~= 'number' then
    complain('invalid replacement value (a ' .. type(value) .. ')', 3)
  end
  charge(#(value .. ''))
  return value .. ''
end

local replaceable = { string = true, number = true, table = true, ['function'] = true }

local function replace(...)
  local text, pattern = prepared('gsub', strings.gsub, false, ...)
  local repl, most = select(3, ...)
  local bound = most == nil and #text + 1 or wholeOf(most)
  if not replaceable[type(repl)] or not bound then asNative('gsub', strings.gsub, ...) end
  local read, pieces, from, count = patternOf(pattern, true), {}, 1, 0
  while count < bound do
    local found = matchAt(text, read, from, false)
    if not found then break end
    charge(64)
    count = count + 1
    local whole = sub(text, found.first, found.last)
    insert(pieces, sub(text, from, found.first - 1))
    insert(pieces, replacement(repl, found, whole))
    from = found.last + 1
    if found.last < found.first then
      insert(pieces, sub(text, from, from))
      from = from + 1
    end
    if read.isAnchored or from > #text + 1 then break end
  end
  insert(pieces, sub(text, from))
  charge(2 * #text)
  return concat(pieces), count
end

local function repeatText(...)
  local text, count = textOf((...)), wholeOf((select(2, ...)))
  if type(text) ~= 'string' or not count then return asNative('rep', strings.rep, ...) end
  charge(#text * math.max(count, 0))
  -- The server appends the copies one by one.
  spend(floor(math.max(count, 0) / 4))
  return (strings.rep(...))
end

local function formatText(...)
  local bytes, values = 0, { ... }
  for index = 1, select('#', ...) do
    local value = values[index]
    bytes = bytes + (type(value) == 'string' and #value or FORMATTED)
  end
  local form = ...
  if type(form) == 'string' and find(form, 'q', 1, true) then bytes = bytes * QUOTED end
  spend(1 + floor(bytes / 256))
  if bytes > 10000 then charge(bytes) end
  return joined((finished('format', pcall(strings.format, ...))))
end

local function bytesOf(...)
  local text, first, last = ...
  if last == nil and type(first) == 'number' and type(text) == 'string' then return strings.byte(text, first) end
  first = wholeOf(first) or 1
  last = wholeOf(last) or first
  -- The server returns at most some thousands.
  charge((last < 0 or last - first > 8) and 8000 * ITEM or 0)
  return finished('byte', pcall(strings.byte, ...))
end

local function charactersOf(...)
  charge(select('#', ...))
  return joined((finished('char', pcall(strings.char, ...))))
end

local function part(...)
  local text, first, last = ...
  if type(text) == 'string' and type(first) == 'number' and (last == nil or type(last) == 'number') then
    return joined(sub(text, first, last or -1))
  end
  return joined((finished('sub', pcall(strings.sub, ...))))
end

local function sizeOfText(...)
  local text = textOf((...))
  if type(text) ~= 'string' then return asNative('len', strings.len, ...) end
  return #text
end

local function dumped(...)
  if type((...)) ~= 'function' then asNative('dump', strings.dump, ...) end
  charge(BYTES_PER_STEP)
  local isDone, made = pcall(strings.dump, ...)
  if not isDone then complain(made) end
  return joined(made)
end

texts = {
  find = findText, match = matchText, gmatch = matchEach, gsub = replace, rep = repeatText, format = formatText,
  byte = bytesOf, char = charactersOf, sub = part, len = sizeOfText, dump = dumped,
  lower = simple('lower'), upper = simple('upper'), reverse = simple('reverse'),
}
if strings.gfind then
  texts.gfind = function()
    complain("'string.gfind' was renamed to 'string.gmatch'")
  end
end

-- Lockstep's functions by the server's own ones, which a script can reach by their names on any string.
local standIns = {}
for name, own in next, strings do
  if texts[name] then standIns[own] = texts[name] end
end
-- Functions of the server beyond Lua 5.1.
for _, own in next, strings do
  standIns[own] = standIns[own] or function() complain('this function is not supported in a script') end
end

function guarded(value) return standIns[value] or value end

-- Returns the function of a call `value:name()`; `named` is Lua's description of the value.
function method(value, name, named)
  local kind, own = type(value), nil
  if kind == 'string' then
    own = texts[name]
  elseif kind == 'table' or kind == 'userdata' then
    own = guarded(value[name])
  else
    complain('attempt to index ' .. (named and named .. ' (a ' .. kind .. ' value)' or 'a ' .. kind .. ' value'))
  end
  return function(...)
    if own == nil then complain("attempt to call method '" .. name .. "' (a nil value)") end
    return asMethod(own, value, ...)
  end
end

end
