-- Estimates the work of a command before it runs, in steps: a step is the time in which a set visits one of its
-- elements. A command above STEPS_PER_COMMAND is refused, because a server does nothing else meanwhile. The estimate
-- uses numbers of elements and lengths only, which are the same in every region, and counts a key as often as the
-- command names it.
--
-- This text is a module: lua-bundle.ts makes it a function's body. It takes `ask(command, key, …)`, which returns a
-- server's integer for a key, or 0; `kindOf(key)`, which returns its type; and `perElement`, the steps per element of
-- a value that is read whole. Returns a function that takes a command and the steps of copies made for it, and returns
-- its steps, and its error if they are too many.
local ask, kindOf, perElement = ...

local LENGTHS = { hash = 'HLEN', set = 'SCARD', zset = 'ZCARD', list = 'LLEN', stream = 'XLEN' }

local function integerIn(word) return match(word or '', '^%-?%d+$') and tonumber(word) end

local function sizeOf(key)
  local command = LENGTHS[kindOf(key)]
  return command and ask(command, key) or 0
end

-- Returns the integer `distance` words behind an option, or nil. The last one counts.
local function optionIn(arguments, first, name, distance, last)
  local found
  for index = first, last or #arguments do
    if string.upper(arguments[index]) == name then found = integerIn(arguments[index + (distance or 1)]) end
  end
  return found
end

local function hasOption(arguments, first, name)
  for index = first, #arguments do
    if string.upper(arguments[index]) == name then return true end
  end
  return false
end

-- Commands on many keys -----------------------------------------------------------------------------------------------

-- Returns the number of keys in a range of words, the sum and the minimum of their sizes, and the size of the first.
local function sizesOf(arguments, first, last, measure)
  local known, count, sum, least = {}, 0, 0, nil
  for index = first, math.min(last, #arguments) do
    local key = arguments[index]
    known[key] = known[key] or measure(key)
    count, sum, least = count + 1, sum + known[key], math.min(least or known[key], known[key])
  end
  return count, sum, least or 0, known[arguments[first]] or 0
end

local combined = {}

function combined.UNION(_, sum) return sum end

function combined.INTER(count, _, least) return least * (1 + count / 2) end

-- Redis takes the better of two algorithms.
function combined.DIFF(count, sum, _, first) return first + math.min(first * count / 2, sum) end

-- Steps of SUNION, ZINTERSTORE and similar commands; nil for any other command.
local function combining(arguments)
  local letter, way, ending = match(arguments[1], '^([SZ])(%u-)(S?T?O?R?E?)$')
  if ending ~= 'STORE' then way, ending = match(arguments[1], '^%u(.*)$'), '' end
  way = match(way or '', '^(INTER)CARD$') or way
  if not letter or not combined[way] then return nil end
  local first, last = ending == '' and 2 or 3, #arguments
  if letter == 'Z' or match(arguments[1], 'CARD$') then
    last, first = first + (integerIn(arguments[first]) or 0), first + 1
  end
  -- Sorted sets can be combined with sets.
  local measure = letter == 'Z' and sizeOf or function(key) return ask('SCARD', key) end
  return combined[way](sizesOf(arguments, first, last, measure))
end

-- Steps of BITOP: the bytes of the longest string, times the number of strings.
local function bytesCombined(arguments)
  local longest = 0
  local count = sizesOf(arguments, 4, #arguments, function(key)
    longest = math.max(longest, ask('STRLEN', key))
    return 0
  end)
  return longest * count / 1000
end

-- Ranges --------------------------------------------------------------------------------------------------------------

-- Returns the number of elements between two indexes, of which negative ones count from the end.
local function between(size, first, last)
  if not first or not last then return size end
  if first < 0 then first = math.max(size + first, 0) end
  if last < 0 then last = size + last end
  return math.max(math.min(last, size - 1) - first + 1, 0)
end

local function indices(command, arguments, at)
  local first, last = integerIn(arguments[at]), integerIn(arguments[at + 1])
  local isCounted = first and last and (first >= 0) == (last >= 0) and last - first < 1000
  if isCounted then return math.max(last - first + 1, 0) end
  return between(ask(command, arguments[at - 1]), first, last)
end

-- Returns the number of elements of a sorted set between two bounds, at most `limit`.
local function bounded(command, key, least, most, limit)
  if limit and limit >= 0 and limit < 1000 then return limit end
  return math.min(ask(command, key, least, most), limit and limit >= 0 and limit or math.huge)
end

-- Returns the number of elements of ZRANGE, whose key is at `at`.
local function rangeOf(arguments, at)
  local limit = optionIn(arguments, at + 3, 'LIMIT', 2)
  local least, most = arguments[at + 1] or '', arguments[at + 2] or ''
  if hasOption(arguments, at + 3, 'REV') then least, most = most, least end
  if hasOption(arguments, at + 3, 'BYSCORE') then return bounded('ZCOUNT', arguments[at], least, most, limit) end
  if hasOption(arguments, at + 3, 'BYLEX') then return bounded('ZLEXCOUNT', arguments[at], least, most, limit) end
  return indices('ZCARD', arguments, at + 1)
end

local function entriesOf(key, count)
  local size = ask('XLEN', key)
  return count and count > 0 and math.min(size, count) or size
end

-- Steps of XREAD, and of XREADGROUP, which starts with its group.
local function streams(arguments)
  local first
  for index = arguments[1] == 'XREAD' and 2 or 5, #arguments do
    if not first and string.upper(arguments[index]) == 'STREAMS' then first = index + 1 end
  end
  if not first then return 0 end
  local count = optionIn(arguments, arguments[1] == 'XREAD' and 2 or 5, 'COUNT', 1, first - 2)
  local last = first + math.floor((#arguments - first + 1) / 2) - 1
  local _, sum = sizesOf(arguments, first, last, function(key) return entriesOf(key, count) end)
  return 4 * sum
end

-- Bounds XRANGE and XREVRANGE: the number of entries between two ids is unknown in advance, and a reply of more than
-- MOST_ENTRIES is refused as too large, so no more are read. Returns no steps.
local function entries(arguments)
  local count = optionIn(arguments, 5, 'COUNT')
  if count and count <= MOST_ENTRIES or ask('XLEN', arguments[2]) <= MOST_ENTRIES then return 0 end
  -- Keeps the errors that Redis reports.
  if #arguments == 4 then insert(arguments, 'COUNT') end
  if #arguments >= 5 then arguments[6] = whole(MOST_ENTRIES) end
  return 0
end

-- Steps of a pop of many elements: a script iterates over them to stage it.
local function popped(command, arguments)
  local count = integerIn(arguments[3])
  return count and count > 1000 and 2 * math.min(count, ask(command, arguments[2])) or 0
end

local function poppedOfSome(command, arguments)
  local keys = integerIn(arguments[2]) or 0
  local count = optionIn(arguments, 4 + keys, 'COUNT')
  if not count or count <= 1000 then return 0 end
  local _, sum = sizesOf(arguments, 3, 2 + keys, function(key) return math.min(count, ask(command, key)) end)
  return 2 * sum
end

-- Others --------------------------------------------------------------------------------------------------------------

local TAKEN_BY_SORT = { BY = 1, GET = 1, STORE = 1, LIMIT = 2 }

-- Steps of SORT: each element is visited, and each element of the reply once per GET.
local function sorted(arguments)
  local size, gets, at = sizeOf(arguments[2]), 0, 3
  local answered = size
  while at <= #arguments do
    local option = string.upper(arguments[at])
    if option == 'GET' then gets = gets + 1 end
    if option == 'LIMIT' then
      local limit = integerIn(arguments[at + 2])
      answered = limit and limit >= 0 and math.min(size, limit) or size
    end
    at = at + 1 + (TAKEN_BY_SORT[option] or 0)
  end
  return size * 2 + answered * gets / 4
end

-- Steps of a geo search: the area may contain all elements.
local function located(arguments, at, first)
  local size, count = ask('ZCARD', arguments[at]), optionIn(arguments, first, 'COUNT')
  local doesStore = arguments[1] == 'GEOSEARCHSTORE' or hasOption(arguments, first, 'STORE')
    or hasOption(arguments, first, 'STOREDIST')
  return size / 2 + (doesStore and 4 * math.min(size, count and count > 0 and count or size) or 0)
end

-- ZRANGEBYSCORE and similar commands.
local function byBounds(arguments)
  local isReversed = sub(arguments[1], 1, 4) == 'ZREV'
  local least, most = arguments[isReversed and 4 or 3], arguments[isReversed and 3 or 4]
  local command = match(arguments[1], 'LEX$') and 'ZLEXCOUNT' or 'ZCOUNT'
  return 2 * bounded(command, arguments[2], least, most, optionIn(arguments, 5, 'LIMIT', 2))
end

-- Commands that read a whole value.
local CARDINALITIES = { H = 'HLEN', S = 'SCARD', Z = 'ZCARD' }
local function entire(arguments) return perElement * ask(CARDINALITIES[sub(arguments[1], 1, 1)], arguments[2]) end

-- An element of a list is less work than one of a set.
local function searched(arguments) return ask('LLEN', arguments[2]) / 16 end

-- Returns the steps of a command. Frequent small commands come first.
local function stepsOf(arguments)
  local name = arguments[1]
  local function isOne(names) return isNamed(names, name) end
  if name == 'LRANGE' then return indices('LLEN', arguments, 3) end
  if name == 'ZRANGE' then return 2 * rangeOf(arguments, 2) end
  if name == 'ZREVRANGE' then return 2 * indices('ZCARD', arguments, 3) end
  if name == 'ZREMRANGEBYSCORE' then return 4 * ask('ZCOUNT', arguments[2], arguments[3], arguments[4]) end
  if name == 'ZREMRANGEBYRANK' then return 4 * indices('ZCARD', arguments, 3) end
  if name == 'ZREMRANGEBYLEX' then return 2 * ask('ZCARD', arguments[2]) end
  if name == 'ZRANGESTORE' then return 3 * rangeOf(arguments, 3) end
  if name == 'ZCOUNT' then return 2 * ask('ZCOUNT', arguments[2], arguments[3], arguments[4]) end
  if match(name, '^ZR.*RANGEBY') or match(name, '^ZRANGEBY') then return byBounds(arguments) end
  if isOne(' HGETALL HKEYS HVALS SMEMBERS SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER HSCAN SSCAN ZSCAN ') then
    return entire(arguments)
  end
  if isOne(' XREAD XREADGROUP ') then return streams(arguments) end
  if isOne(' XRANGE XREVRANGE ') then return entries(arguments) end
  if isOne(' LMPOP ZMPOP ') then return poppedOfSome(name == 'LMPOP' and 'LLEN' or 'ZCARD', arguments) end
  if isOne(' LPOP RPOP ') then return popped('LLEN', arguments) end
  if isOne(' ZPOPMIN ZPOPMAX ') then return popped('ZCARD', arguments) end
  if isOne(' LPOS LREM LINSERT ') then return searched(arguments) end
  if isOne(' SORT SORT_RO ') then return sorted(arguments) end
  if name == 'BITOP' then return bytesCombined(arguments) end
  if name == 'GEOSEARCH' then return located(arguments, 2, 3) end
  if name == 'GEOSEARCHSTORE' then return located(arguments, 3, 4) end
  if match(name, '^GEORADIUS') then return located(arguments, 2, 5) end
  -- Commands that read all keys.
  if isOne(' DBSIZE KEYS RANDOMKEY SCAN ') then return perElement * must('DBSIZE') end
  return combining(arguments) or 0
end

return function(arguments, copied)
  local steps = stepsOf(arguments) + (copied or 0)
  -- NaN is over the limit too.
  if steps <= STEPS_PER_COMMAND then return steps end
  return 0, 'ERR ' .. arguments[1] .. ' takes too long: it takes more than ' .. whole(STEPS_PER_COMMAND)
    .. ' steps, about one for each element of its keys, as often as they are named; name fewer or smaller keys, ask '
    .. 'for fewer elements, or go through them in slices'
end
