-- Commands whose results need more than one call. BITFIELD with fields wider than the numbers of a script runs each
-- field by itself, and reads wide ones back in two halves; the fields were checked before, so that none can fail after
-- another has changed something. Others are bounded, or add their effect to the vote.
--
-- Each function takes the command under its staged names, and a function that runs a command. Both return the reply,
-- or nil and the text of the error.
local HALF = 4294967296

-- Returns the digits of high * 2^32 + low, whose parts are whole numbers below 2^32. Each step stays below 2^53.
local function digitsOf(high, low)
  local rest, parts = 0, {}
  -- From base 2^16 to base 10^6, by long division.
  local limbs = { math.floor(high / 65536), high % 65536, math.floor(low / 65536), low % 65536 }
  for index = 1, 4 do
    rest = 0
    for limb = 1, 4 do
      local value = rest * 65536 + limbs[limb]
      limbs[limb], rest = math.floor(value / 1000000), value % 1000000
    end
    parts[5 - index] = format('%06.0f', rest)
  end
  return (string.gsub(concat(parts), '^0+(%d)', '%1'))
end

-- Returns the integer in a wide field, as its digits.
local function wideAt(name, isSigned, width, offset)
  local halves = must('BITFIELD_RO', name, 'GET', 'u' .. whole(width - 32), whole(offset), 'GET', 'u32',
    whole(offset + width - 32))
  local high, low = halves[1], halves[2]
  local bound = 2 ^ (width - 32)
  if not isSigned or high < bound / 2 then return { digits = digitsOf(high, low) } end
  -- In two's complement, the absolute value is that of the inverted bits, plus one.
  high, low = bound - 1 - high, HALF - low
  if low == HALF then high, low = high + 1, 0 end
  return { digits = '-' .. digitsOf(high, low) }
end

-- Returns the operation's name, its words from `at` on, and the position of the next operation.
local function fieldAt(arguments, at)
  local name = string.upper(arguments[at])
  local length = ({ OVERFLOW = 2, GET = 3 })[name] or 4
  return name, { unpack(arguments, at, at + length - 1) }, at + length
end

local function runField(key, name, words, overflow, run)
  local sign, bits = match(words[2], '^(%a)(%d+)$')
  local width, mark, number = tonumber(bits), match(words[3], '^(#?)(%d+)$')
  local offset = tonumber(number) * (mark == '#' and width or 1)
  local isWide = width > 53
  local function read() return wideAt(key, sign == 'i', width, offset) end
  local before = isWide and name == 'SET' and must('TYPE', key).ok == 'string' and read() or { digits = '0' }
  local reply, failure = run({ 'BITFIELD', key, 'OVERFLOW', overflow, unpack(words) })
  if failure then return nil, failure end
  if not isWide or not reply[1] then return reply[1] end
  return name == 'SET' and before or read()
end

local function runBits(arguments, _, run)
  local replies, overflow, at, count = {}, 'WRAP', 3, 0
  while at <= #arguments do
    local name, words, following = fieldAt(arguments, at)
    at = following
    if name == 'OVERFLOW' then
      overflow = words[2]
    else
      local reply, failure = runField(arguments[2], name, words, overflow, run)
      if failure then return nil, failure end
      count = count + 1
      replies[count] = reply
    end
  end
  return replies
end

-- Runs GEOSEARCHSTORE, or GEORADIUS and its variants, with STOREDIST. A digest of the stored distances goes into the
-- vote.
local function storeDistances(arguments, _, run)
  local reply, failure = run(arguments)
  if failure then return nil, failure end
  local target = arguments[2]
  for index = 6, #arguments - 1 do
    local isStore = match(string.upper(arguments[index]), '^STORE') ~= nil
    if arguments[1] ~= 'GEOSEARCHSTORE' and isStore then target = arguments[index + 1] end
  end
  local scores = must('ZRANGE', target, '0', '-1', 'WITHSCORES')
  tx.effects = redis.sha1hex((tx.effects or '') .. concat(scores, ','))
  return reply
end

-- Runs LCS, which compares each byte with each, within a bound for all of a transaction's.
local function compare(arguments, _, run)
  local steps = 1
  for index = 2, 3 do
    local length = redis.pcall('STRLEN', arguments[index] or '')
    steps = steps * (type(length) == 'number' and length or 0)
  end
  if steps > tx.lcsSteps then
    return nil, 'ERR the values are too long to compare: their lengths multiply to more than ' .. whole(tx.lcsSteps)
  end
  tx.lcsSteps = tx.lcsSteps - steps
  return run(arguments)
end

-- Refuses an APPEND that extends a string beyond MOST_REACHED bytes, which lua-bundle.ts defines. A region copies the
-- whole string to stage a change of it, and a GET of 511 MB takes 0.23 s of redis-server's main thread, or 0.33 s of
-- CPU time with the sending; a snapshot may have 16 of them. Without APPEND, strings reach MOST_REACHED by SETRANGE,
-- SETBIT or BITFIELD, and twice that by SET in a script, whose memory is bounded; BITOP makes none longer than its
-- sources. A migrated database may hold longer ones.
local function extend(arguments, _, run)
  local length = redis.pcall('STRLEN', arguments[2])
  local bytes = type(length) == 'number' and length + #arguments[3] or 0
  if bytes <= MOST_REACHED then return run(arguments) end
  return nil, 'ERR APPEND extends the value to ' .. whole(bytes) .. ' bytes; the limit is ' .. whole(MOST_REACHED)
end

-- The functions by the kind of an operation, or by the name of a command; lua-bundle.ts declares the name.
runners = {
  LCS = compare, APPEND = extend,
  [6] = append, [7] = deliver, [8] = claimAny, [9] = runBits, [14] = trim, [15] = storeDistances,
}
