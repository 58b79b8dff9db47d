-- The ways in which commands address the elements of a collection, by the letters of addressing.ts: the type, and the
-- way. A way's `load` adds the elements that the command will read to the shadow, and may replace arguments of the
-- command; it returns false if the key has to be staged whole. `after` records the effect of the command.
--
-- A command with invalid arguments runs as it is: its error is the same on the shadow as on the whole.
local ways = {}

-- True if `count` elements are so many that copying the whole collection costs no more. A list is copied a hundred
-- times faster than a script iterates over it.
local function isTooMuch(part, count)
  return count > part.size / 2 or (part.kind == 'list' and count > 10000)
end

local FAR = 1000000000000000

-- Returns the integer as Redis parses it, within a range that no collection exceeds; or nil.
local function integerOf(word)
  if word == '0' then return 0 end
  local sign, digits = match(word or '', '^(%-?)([1-9]%d*)$')
  if not digits or #digits > 19 then return nil end
  local most = sign == '-' and '9223372036854775808' or '9223372036854775807'
  if #digits == 19 and before(most, digits) then return nil end
  local number = math.min(tonumber(digits), FAR)
  return sign == '-' and -number or number
end

-- Returns the first and the last index of a range, from 0 on; nil if the words are no integers.
local function rangeOf(args, length)
  local first, last = integerOf(args[3]), integerOf(args[4])
  if not first or not last then return nil end
  if first < 0 then first = math.max(0, first + length) end
  if last < 0 then last = last + length end
  return first, math.min(last, length - 1)
end

-- Loads a range of indexes by `load(isFromEnd, count)`, from the end from which fewer elements are needed, and
-- replaces the indexes by ones that count from there.
local function loadBetween(args, length, replaced, load)
  local from, to = rangeOf(args, length)
  if not from then return true end
  if from > to then
    replaced[3], replaced[4] = '1', '0'
    return true
  end
  local isFromEnd = to + 1 > length - from
  if isFromEnd then from, to = from - length, to - length end
  replaced[3], replaced[4] = whole(from), whole(to)
  return load(isFromEnd, isFromEnd and -from or to + 1)
end

local function slice(args, from, step)
  local items = {}
  for index = from, #args, step do insert(items, args[index]) end
  return items
end

-- Returns the position of the first element of ZADD and GEOADD, behind the options.
local options = { NX = true, XX = true, GT = true, LT = true, CH = true, INCR = true }
local function behindOptions(args)
  local at = 3
  while args[at] and options[string.upper(args[at])] do at = at + 1 end
  return at
end

-- Elements by name ---------------------------------------------------------------------------------------------------

local function addressing(choose)
  return { load = function(key, part, args) return find(key, part, choose(args)) end, makesShadow = true }
end

local first = addressing(function(args) return { args[3] } end)
local second = addressing(function(args) return { args[4] } end)
local all = addressing(function(args) return slice(args, 3, 1) end)
local none = { load = function() return true end }

ways.hn, ways.sn, ways.zn, ways.ln, ways.kn = none, none, none, none, none
ways.hf, ways.sf, ways.zf = first, first, first
ways.ha, ways.sa, ways.za = all, all, all
ways.so, ways.zo = second, second
ways.hp = addressing(function(args) return slice(args, 3, 2) end)
ways.zc = addressing(function(args) return slice(args, behindOptions(args) + 1, 2) end)
ways.zg = addressing(function(args) return slice(args, behindOptions(args) + 2, 3) end)

-- Expiries. If the base has one and the command extends it, a region that applies the commit late could have lost the
-- base, while others kept the transaction's result: then the commit has to bring the whole value.
ways.kx = {
  load = function(key, _, args)
    local print = stateOf(key).fingerprint
    local expiry = args[1] == 'PEXPIREAT' and integerOf(args[3])
    return print == 'persistent' or (expiry and expiry <= tonumber(print))
  end,
}

-- Sorted sets by rank and by score -----------------------------------------------------------------------------------

local function scoreNumber(score)
  if score == 'inf' then return math.huge end
  if score == '-inf' then return -math.huge end
  return tonumber(score)
end

-- True if member and score `a` are farther from this end than `b`.
local function isFarther(a, b, side)
  if side == HIGH then a, b = b, a end
  local scoreA, scoreB = scoreNumber(a[2]), scoreNumber(b[2])
  if scoreA ~= scoreB then return scoreA > scoreB end
  return before(b[1], a[1])
end

-- Makes sure that the shadow has the `count` elements nearest to the end: it has all of the base's up to an edge, and
-- at least `count` in all up to there. False if that takes too much.
local function reach(key, part, side, count)
  local name, range = shadowName(tx.id, key), side == LOW and 'ZRANGE' or 'ZREVRANGE'
  local at = whole(count - 1)
  while true do
    local edge = part.edges[side]
    local farthest = edge and must(range, name, at, at, 'WITHSCORES')
    if farthest and farthest[1] and not isFarther(farthest, edge, side) then return true end
    local from = part.reached[side]
    local to = from + math.max(count, from)
    if isTooMuch(part, to) then return false end
    local flat = must(range, key, whole(from), whole(to - 1), 'WITHSCORES')
    if not take(key, part, flat) then return false end
    part.reached[side], part.edges[side] = to, { flat[#flat - 1], flat[#flat] }
  end
end

-- Makes sure that the elements of a score range are in the shadow, or the first `count` of them.
local function reachScores(key, part, min, max, isReverse, count)
  local id = min .. '\0' .. max
  if part.ranges[id] then return true end
  local total = redis.pcall('ZCOUNT', key, min, max)
  if type(total) ~= 'number' then return true end
  if not isTooMuch(part, total) then
    part.ranges[id] = take(key, part, must('ZRANGEBYSCORE', key, min, max, 'WITHSCORES'))
    return part.ranges[id]
  end
  -- Each known element of the base may have left the range by now.
  count = count and count + part.present
  if not count or isTooMuch(part, count) then return false end
  if isReverse then min, max = max, min end
  local range = isReverse and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
  return take(key, part, must(range, key, min, max, 'WITHSCORES', 'LIMIT', '0', whole(count)))
end

-- Returns the options of a range: its kind, whether it is reversed, and the number of elements from its start, or nil.
local function rangeOptions(args)
  local by, isReverse, count, at = 'RANK', sub(args[1], 1, 4) == 'ZREV', nil, 5
  if match(args[1], 'BYSCORE$') or args[1] == 'ZCOUNT' then by = 'SCORE' end
  while args[at] do
    local word = string.upper(args[at])
    if word == 'REV' then isReverse = true end
    if word == 'BYSCORE' then by = 'SCORE' end
    if word == 'BYLEX' then by = 'LEX' end
    if word == 'LIMIT' then
      local offset, limit = integerOf(args[at + 1]), integerOf(args[at + 2])
      if offset and limit and offset >= 0 and limit >= 0 then count = offset + limit end
      at = at + 2
    end
    at = at + 1
  end
  return by, isReverse, count
end

local function loadRange(key, part, args, replaced)
  local by, isReverse, count = rangeOptions(args)
  if by == 'LEX' then return false end
  if by == 'SCORE' then
    local min, max = args[3], args[4]
    if isReverse then min, max = max, min end
    return reachScores(key, part, min, max, isReverse, count)
  end
  return loadBetween(args, module.lengthOf(key, part), replaced, function(isFromEnd, needed)
    return reach(key, part, isFromEnd == isReverse and LOW or HIGH, needed)
  end)
end

local function loadEnd(key, part, side, countText)
  local count = countText == nil and 1 or integerOf(countText)
  if not count or count <= 0 then return true end
  return reach(key, part, side, math.min(count, module.lengthOf(key, part)))
end

ways.zr = { load = loadRange, hidesRest = true }
ways.ze = {
  load = function(key, part, args) return loadEnd(key, part, args[1] == 'ZPOPMIN' and LOW or HIGH, args[3]) end,
  hidesRest = true,
}

-- Returns the word behind the keys of ZMPOP or LMPOP, and the count.
local function popOf(args)
  local at = 3 + (integerOf(args[2]) or 0)
  return string.upper(args[at] or ''), args[at + 2]
end

ways.zm = {
  load = function(key, part, args)
    local word, count = popOf(args)
    return loadEnd(key, part, word == 'MIN' and LOW or HIGH, count)
  end,
  hidesRest = true,
}

-- Lists --------------------------------------------------------------------------------------------------------------

-- Makes sure that the shadow has `count` items at the end. Some of the base stay out, so that the list is never empty.
local function reachItems(key, part, side, count)
  local name, missing = shadowName(tx.id, key), count - part.side[side]
  if missing <= 0 then return true end
  local cut = part.cut[LOW] + part.cut[HIGH]
  if isTooMuch(part, cut + missing) then return false end
  local more = isTooMuch(part, cut + part.cut[side] + missing) and missing or math.max(missing, part.cut[side])
  local from, to = part.cut[LOW], part.cut[LOW] + more - 1
  if side == HIGH then from, to = -part.cut[HIGH] - more, -part.cut[HIGH] - 1 end
  local items, held, row = must('LRANGE', key, whole(from), whole(to)), must('LRANGE', name, '0', '-1'), {}
  local function add(source, low, high)
    for index = low, high do insert(row, source[index]) end
  end
  add(held, 1, part.side[LOW])
  if side == LOW then add(items, 1, more) end
  insert(row, REST)
  if side == HIGH then add(items, 1, more) end
  add(held, part.side[LOW] + 2, #held)
  rewrite(name, row)
  part.cut[side], part.side[side] = part.cut[side] + more, part.side[side] + more
  return true
end

local function addTo(part, side, count) part.side[side] = part.side[side] + count end

local function sideOf(word) return string.upper(word or '') == 'LEFT' and LOW or HIGH end

local function loadIndex(key, part, args, replaced)
  local length, index = module.lengthOf(key, part), integerOf(args[3])
  if not index then return true end
  if index < 0 then index = index + length end
  if index < 0 or index >= length then
    replaced[3] = whole(FAR)
    return true
  end
  if index + 1 <= length - index then
    replaced[3] = whole(index)
    return reachItems(key, part, LOW, index + 1)
  end
  replaced[3] = whole(index - length)
  return reachItems(key, part, HIGH, length - index)
end

local function loadItems(key, part, args, replaced)
  return loadBetween(args, module.lengthOf(key, part), replaced, function(isFromEnd, needed)
    return reachItems(key, part, isFromEnd and HIGH or LOW, needed)
  end)
end

local function loadTrimmed(key, part, args, replaced)
  local length = module.lengthOf(key, part)
  local from, to = rangeOf(args, length)
  if not from then return true end
  if from > to then return false end
  if not reachItems(key, part, LOW, from) or not reachItems(key, part, HIGH, length - 1 - to) then return false end
  replaced[3], replaced[4] = whole(from), whole(to - length)
  return true
end

local function loadPopped(key, part, side, countText)
  local count = countText == nil and 1 or integerOf(countText)
  if not count or count <= 0 then return true end
  return reachItems(key, part, side, math.min(count, module.lengthOf(key, part)))
end

-- Returns the ends of LMOVE and RPOPLPUSH: the one that loses an item, and the one that gets it.
local function endsOf(args)
  if args[1] == 'RPOPLPUSH' then return HIGH, LOW end
  return sideOf(args[4]), sideOf(args[5])
end

ways.li = { load = loadIndex }
ways.lr = { load = loadItems }
ways.lk = {
  load = loadTrimmed,
  after = function(_, part, _, _, replaced)
    addTo(part, LOW, -(replaced[3] or 0))
    addTo(part, HIGH, (replaced[4] or -1) + 1)
  end,
}
ways.lu = {
  load = none.load,
  after = function(_, part, args) addTo(part, sub(args[1], 1, 1) == 'L' and LOW or HIGH, #args - 2) end,
}
ways.lt = {
  load = function(key, part, args) return loadPopped(key, part, args[1] == 'LPOP' and LOW or HIGH, args[3]) end,
  after = function(_, part, args, reply)
    addTo(part, args[1] == 'LPOP' and LOW or HIGH, type(reply) == 'table' and -#reply or (reply and -1 or 0))
  end,
}
ways.lv = {
  load = function(key, part, args) return key ~= args[2] or reachItems(key, part, (endsOf(args)), 1) end,
  after = function(key, part, args, reply)
    local from, to = endsOf(args)
    if reply and key == args[2] then addTo(part, from, -1) end
    if reply and key == args[3] then addTo(part, to, 1) end
  end,
}
ways.lm = {
  load = function(key, part, args)
    local word, count = popOf(args)
    return loadPopped(key, part, sideOf(word), count)
  end,
  after = function(key, part, args, reply)
    if reply and reply[1] == shadowName(tx.id, key) then addTo(part, sideOf((popOf(args))), -#reply[2]) end
  end,
}

-- Running ------------------------------------------------------------------------------------------------------------

-- Removes the placeholder while a command runs that depends on the order. Returns the expiry, which may go with it.
local function hide(key, part)
  local name = shadowName(tx.id, key)
  part.isHidden = true
  local expiry = must('PEXPIRETIME', name)
  must('ZREM', name, REST)
  return expiry
end

local function show(key, part, expiry)
  local name = shadowName(tx.id, key)
  part.isHidden = false
  must('ZADD', name, '0', REST)
  if expiry >= 0 then must('PEXPIREAT', name, whole(expiry)) end
end

-- Returns the keys of the command that stay staged by their elements, each once with its part and its hidden expiry.
local function loadKeys(operation, way, replaced)
  local args, kept, seen = operation[2], {}, {}
  local isAny = sub(operation[6], 1, 1) == 'k'
  local function loadKey(position)
    local key = args[position + 1]
    local state = stateOf(key)
    if state.at ~= 'part' or seen[key] then return end
    seen[key] = true
    local part = state.part
    local isOfType = isAny or letters[part.kind] == sub(operation[6], 1, 1)
    if not (way.makesShadow and isOfType) then module.make(key, part) end
    if #operation[3] > 0 then protect(key, state) end
    part.mayExpire = part.mayExpire or way == ways.kx
    local expiry = way.hidesRest and isOfType and hide(key, part)
    local isLoaded = not isOfType or way.load(key, part, args, replaced)
    if isLoaded then
      insert(kept, { key = key, state = state, part = part, isOfType = isOfType, expiry = expiry })
      return
    end
    if expiry then show(key, part, expiry) end
    module.makeWhole(key, state)
  end
  for _, position in ipairs(operation[3]) do loadKey(position) end
  for _, position in ipairs(operation[4]) do loadKey(position) end
  return kept
end

-- Drops a collection that has become empty or has expired.
local function settle(item, way)
  local mayExpire = way == ways.kx or (item.expiry and item.expiry >= 0)
  local expiry = mayExpire and stagedExpiry(shadowName(tx.id, item.key)) or -1
  local hasExpired = expiry == -2 or (expiry >= 0 and expiry <= tx.now)
  local mayBeEmpty = item.part.kind ~= 'list' and item.part.kind ~= 'stream' and item.part.present >= item.part.size
  local isGone = hasExpired or (mayBeEmpty and module.lengthOf(item.key, item.part) == 0)
  if isGone then module.leave(item.key, item.state) end
end

local answersLength = {
  HLEN = true, SCARD = true, ZCARD = true, LLEN = true, LPUSH = true, RPUSH = true, LPUSHX = true, RPUSHX = true,
}

-- Runs a command of which at least one key is staged by its elements. Returns its reply, or nil and the text of its
-- error; then its arguments as sent, and the keys by the names in them.
function module.run(operation, renamed, run)
  local way, replaced = ways[operation[6]], {}
  local kept = loadKeys(operation, way, replaced)
  tx.byElements = true
  local arguments, names = renamed(operation)
  tx.byElements = false
  if #kept > 0 then
    for position, argument in pairs(replaced) do arguments[position] = argument end
  end
  local reply, failure = run(arguments)
  for _, item in ipairs(kept) do
    if item.expiry then show(item.key, item.part, item.expiry) end
    if not failure and item.isOfType then
      if way.after then way.after(item.key, item.part, operation[2], reply, replaced) end
      if answersLength[arguments[1]] then reply = module.lengthOf(item.key, item.part) end
      if #operation[3] > 0 then settle(item, way) end
    end
  end
  return reply, failure, arguments, names
end

return module
