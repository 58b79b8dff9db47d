-- Patterns of Lua 5.1 for users' scripts. The server's own functions may backtrack without a bound, so they are used
-- only if a pattern can cause few comparisons; otherwise a matcher of Lockstep's own counts each one.
--
-- This text belongs to the module that sandbox.lua begins, behind budget.lua. It defines `patternOf`, which parses a
-- pattern; `matchAt`, which finds its first match at or after a position, as { first, last, captures }; and
-- `allCaptures`, which returns these.
local patternOf, matchAt, allCaptures
do

-- The price of a comparison here, in steps.
local STEPS_PER_COMPARISON = 20
-- The comparisons that the server's own function may cause, and the number of them per step.
local FEW, COMPARISONS_PER_STEP = 20000, 50
local PATTERN_BYTES = SCRIPT_BOUNDS.patternBytes
local CAPTURES = 32
local POSITION, OPEN = -2, -1

local char = string.char
local known = {}

-- Reading -------------------------------------------------------------------------------------------------------------

-- Returns the position behind the class that begins at `at`, or nil and the error in it.
local function classEnd(pattern, at)
  local first = sub(pattern, at, at)
  if first == '%' then
    if at == #pattern then return nil, "malformed pattern (ends with '%')" end
    return at + 2
  end
  if first ~= '[' then return at + 1 end
  local next = at + 1
  if sub(pattern, next, next) == '^' then next = next + 1 end
  repeat
    if next > #pattern then return nil, "malformed pattern (missing ']')" end
    local isEscape = sub(pattern, next, next) == '%'
    next = next + 1
    if isEscape and next <= #pattern then next = next + 1 end
  until sub(pattern, next, next) == ']'
  return next + 1
end

-- The set of bytes of a class. The server decides for each byte whether it belongs to it, once.
local function setOf(class)
  if #class == 1 and class ~= '.' and find(class, '%p') then class = '%' .. class end
  return { test = '^' .. class }
end

local function isIn(set, code)
  local answer = set[code]
  if answer == nil then
    spend(1 + floor(#set.test / COMPARISONS_PER_STEP))
    answer = find(char(code), set.test) ~= nil
    set[code] = answer
  end
  return answer
end

-- Parses the item at `at` of a pattern into `item`. Returns the position behind it, or nil if the item is malformed.
local function readItem(pattern, at, item)
  local first, second = sub(pattern, at, at), sub(pattern, at + 1, at + 1)
  if first == '(' then
    item.kind = second == ')' and 'position' or 'open'
    return second == ')' and at + 2 or at + 1
  end
  if first == ')' then
    item.kind = 'close'
    return at + 1
  end
  if first == '$' and at == #pattern then
    item.kind = 'end'
    return at + 1
  end
  if first == '%' and second == 'b' then
    item.kind, item.begins, item.ends = 'balance', byte(pattern, at + 2), byte(pattern, at + 3)
    if item.ends then return at + 4 end
    item.wrong = 'unbalanced pattern'
    return nil
  end
  if first == '%' and second == 'f' then
    if sub(pattern, at + 2, at + 2) ~= '[' then
      item.wrong = "missing '[' after '%f' in pattern"
      return nil
    end
    local past, wrong = classEnd(pattern, at + 2)
    item.kind, item.wrong = 'frontier', wrong
    item.set = past and setOf(sub(pattern, at + 2, past - 1))
    return past
  end
  if first == '%' and match(second, '^%d$') then
    item.kind, item.number = 'back', tonumber(second)
    return at + 2
  end
  local past, wrong = classEnd(pattern, at)
  item.kind, item.wrong = 'one', wrong
  if not past then return nil end
  item.set = setOf(sub(pattern, at, past - 1))
  local quantifier = sub(pattern, past, past)
  if quantifier == '' or not find(quantifier, '[*+?-]') then return past end
  item.quantifier = quantifier
  return past + 1
end

-- Estimates how comparisons grow with the text: by its size to the power of `degree`, times `factor`. The last item of
-- a pattern needs no backtracking. The server parses a set again for each byte.
local function measure(read)
  local degree, factor, last, opened, least = read.isAnchored and 0 or 1, 1, nil, {}, 0
  local bytes = 0
  for index, item in ipairs(read) do
    bytes = bytes + (item.set and #item.set.test or 1)
    if item.kind == 'one' and item.quantifier == '?' then factor = factor * 2 end
    if item.kind == 'balance' or (item.quantifier and item.quantifier ~= '?') then
      degree, least = degree + 1, 1
    end
    if item.kind == 'back' or item.wrong then read.isOwn = true end
    if item.kind == 'open' then insert(opened, index) end
    if item.kind == 'close' and not table.remove(opened) then read.isOwn = true end
    if item.kind == 'open' or item.kind == 'position' then read.captures = read.captures + 1 end
    if item.kind ~= 'close' then last = item end
  end
  if last and last.kind == 'one' and last.quantifier and last.quantifier ~= '?' then degree = degree - 1 end
  read.isOwn = read.isOwn or #opened > 0 or read.captures > CAPTURES or factor > 1024
  read.degree, read.factor = math.max(least, degree), factor * math.max(1, bytes)
end

-- Returns the pattern as a list of items. `mayAnchor` is false if ^ stands for itself, as in gmatch.
function patternOf(given, mayAnchor)
  local kept = known[mayAnchor] or {}
  known[mayAnchor] = kept
  local read = kept[given]
  if read then return read end
  spend(1 + floor(#given / 4))
  local zero = find(given, '%z')
  local pattern = zero and sub(given, 1, zero - 1) or given
  read = { text = given, captures = 0, isAnchored = mayAnchor and sub(pattern, 1, 1) == '^' }
  -- A pattern that is too long for any text is not parsed.
  local isLong = #pattern > PATTERN_BYTES
  if isLong and find(pattern, '[*+?%-(]') then
    stop('ERR a pattern is too long: it has more than ' .. PATTERN_BYTES .. ' bytes')
  end
  charge(#pattern * 100)
  local at = read.isAnchored and 2 or 1
  while at and at <= #pattern do
    local item = {}
    at = readItem(pattern, at, item)
    insert(read, item)
  end
  measure(read)
  if not mayAnchor and sub(pattern, 1, 1) == '^' then read.text = '%' .. given end
  kept[given] = read
  return read
end

-- Matching ------------------------------------------------------------------------------------------------------------

local subject, size, items, level, starts, lengths
local comparisons = 0

-- Comparisons that are paid for together.
local PAID = 32

local function pay()
  spend(comparisons * STEPS_PER_COMPARISON)
  comparisons = 0
end

local function compare()
  comparisons = comparisons + 1
  if comparisons >= PAID then pay() end
end

local go

-- The error of the pattern that is being matched.
local fault

local function blame(words)
  fault = words
  error(words, 0)
end

-- The inner loop of the matcher, so it calls as little as it can.
local function holds(item, at)
  comparisons = comparisons + 1
  if comparisons >= PAID then pay() end
  if at > size then return false end
  local set, code = item.set, byte(subject, at)
  local answer = set[code]
  if answer == nil then return isIn(set, code) end
  return answer
end

local function expand(item, at, index)
  local last, least = at, item.quantifier == '+' and at + 1 or at
  while holds(item, last) do last = last + 1 end
  for place = last, least, -1 do
    local found = go(place, index + 1)
    if found then return found end
  end
  return nil
end

local function expandLittle(item, at, index)
  while true do
    local found = go(at, index + 1)
    if found then return found end
    if not holds(item, at) then return nil end
    at = at + 1
  end
end

local function openCapture(at, index, length)
  if level >= CAPTURES then blame('too many captures') end
  level = level + 1
  starts[level], lengths[level] = at, length
  local found = go(at, index + 1)
  if not found then level = level - 1 end
  return found
end

local function closeCapture(at, index)
  local open = level
  while open > 0 and lengths[open] ~= OPEN do open = open - 1 end
  if open == 0 then blame('invalid pattern capture') end
  lengths[open] = at - starts[open]
  local found = go(at, index + 1)
  if not found then lengths[open] = OPEN end
  return found
end

local function balanced(item, at)
  if at > size or byte(subject, at) ~= item.begins then return nil end
  local depth, place = 1, at
  while place < size do
    place = place + 1
    compare()
    local code = byte(subject, place)
    if code == item.ends then
      depth = depth - 1
      if depth == 0 then return place + 1 end
    elseif code == item.begins then
      depth = depth + 1
    end
  end
  return nil
end

local function repeated(item, at)
  local number = item.number
  if number < 1 or number > level or lengths[number] == OPEN then blame('invalid capture index') end
  local length = lengths[number]
  if length == POSITION or size - at + 1 < length then return nil end
  charge(length)
  if sub(subject, starts[number], starts[number] + length - 1) ~= sub(subject, at, at + length - 1) then return nil end
  return at + length
end

-- Matches the items from `index` on at `at`. Returns the position behind the match, or nil.
function go(at, index)
  while true do
    local item = items[index]
    if not item then return at end
    comparisons = comparisons + 1
    if comparisons >= PAID then pay() end
    if item.wrong then blame(item.wrong) end
    local kind, quantifier = item.kind, item.quantifier
    if kind == 'one' and not quantifier then
      if not holds(item, at) then return nil end
      at = at + 1
    elseif quantifier == '-' then
      return expandLittle(item, at, index)
    elseif quantifier == '?' then
      local found = holds(item, at) and go(at + 1, index + 1)
      if found then return found end
    elseif kind == 'one' then
      return expand(item, at, index)
    elseif kind == 'open' or kind == 'position' then
      return openCapture(at, index, kind == 'open' and OPEN or POSITION)
    elseif kind == 'close' then
      return closeCapture(at, index)
    elseif kind == 'end' then
      return at == size + 1 and at or nil
    elseif kind == 'frontier' then
      local before, after = at > 1 and byte(subject, at - 1) or 0, byte(subject, at) or 0
      if isIn(item.set, before) or not isIn(item.set, after) then return nil end
    else
      at = kind == 'balance' and balanced(item, at) or kind == 'back' and repeated(item, at)
      if not at then return nil end
    end
    index = index + 1
  end
end

-- Returns the captures of a match from `first` to before `past` as a list, with false for an unfinished one. Without
-- captures, the list has the whole match if `orWhole`.
local function capturesOf(first, past, orWhole)
  local list = {}
  if level == 0 and orWhole then list[1] = sub(subject, first, past - 1) end
  for index = 1, level do
    local length = lengths[index]
    list[index] = length == POSITION and starts[index]
      or length ~= OPEN and sub(subject, starts[index], starts[index] + length - 1)
  end
  for _, value in ipairs(list) do joined(value) end
  return list
end

local function search(from, last)
  for first = from, last do
    level = 0
    local past = go(first, 1)
    if past then return first, past end
  end
  return nil
end

local function matchByOwn(text, read, from, orWhole)
  subject, size, items, starts, lengths, fault = text, #text, read, {}, {}, nil
  local isDone, first, past = pcall(search, from, read.isAnchored and from or size + 1)
  if fault then complain(fault, 3) end
  if not isDone then error(first, 0) end
  spend(1 + comparisons * STEPS_PER_COMPARISON)
  comparisons = 0
  if not first then return nil end
  return { first = first, last = past - 1, captures = capturesOf(first, past, orWhole) }
end

local function foundBy(first, last, ...)
  if not first then return nil end
  for index = 1, select('#', ...) do joined((select(index, ...))) end
  return { first = first, last = last, captures = { ... } }
end

-- Returns the first match at or after `from`, or nil. Without captures, the whole match is the only one if `orWhole`.
function matchAt(text, read, from, orWhole)
  local left = #text - from + 2
  local most = left ^ read.degree * read.factor
  -- The server makes a single pass over a text if the script could pay for all of it.
  local bound = read.degree > 1 and FEW or steps / heaviest * COMPARISONS_PER_STEP
  if read.isOwn or most > bound then return matchByOwn(text, read, from, orWhole) end
  if read.degree > 1 then spend(1 + floor(most / COMPARISONS_PER_STEP)) end
  -- Stops before the server makes captures that would not fit.
  if read.captures * left > memory then charge(read.captures * left) end
  local found = foundBy(find(text, read.text, from))
  -- A single pass is short, so the script pays for the part of the text that it read.
  if read.degree <= 1 then
    local gone = found and found.last - from + 2 or left
    spend(1 + floor(gone * read.factor / COMPARISONS_PER_STEP))
  end
  if found and orWhole and read.captures == 0 then
    found.captures[1] = joined(sub(text, found.first, found.last))
  end
  return found
end

function allCaptures(found)
  for _, value in ipairs(found.captures) do
    if not value then complain('unfinished capture', 2) end
  end
  return unpack(found.captures)
end

end
