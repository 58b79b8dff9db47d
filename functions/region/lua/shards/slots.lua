-- Finds the slots of keys, and empties slots. A slot is that of Redis Cluster: the CRC16 of the key, or of its first
-- tag in braces if that is not empty, modulo 16,384.
--
-- Guarantees: only users' keys are deleted. If the ranges of a plan cover all slots, the whole database is emptied at
-- once, but only if nothing else of Lockstep's is in it than the records of the plan's shards: the script writes their
-- states again as it ends, and their leases here.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only scripts that need slots pay for it. It
-- takes `leasesOf(plan)`, the names of the leases of the plan's other shards, and `isOwn(plan, name)`, true for a
-- record of them.
local leasesOf, isOwn = ...

local SLOTS = 16384
local POLYNOMIAL_HIGH, POLYNOMIAL_LOW = 0x10, 0x21

-- The exclusive or of two bytes. Some servers have no library of bits.
local function xor(a, b)
  local sum, power = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then sum = sum + power end
    a, b, power = math.floor(a / 2), math.floor(b / 2), power * 2
  end
  return sum
end
local bits = rawget(_G, 'bit')
if bits then xor = bits.bxor end

-- The checksum's high and low byte for each byte, filled on need.
local highs, lows = {}, {}

local function fill(index)
  local high, low = index, 0
  for _ = 1, 8 do
    local isOut = high >= 128
    high, low = high % 128 * 2 + math.floor(low / 128), low % 128 * 2
    if isOut then high, low = xor(high, POLYNOMIAL_HIGH), xor(low, POLYNOMIAL_LOW) end
  end
  highs[index], lows[index] = high, low
end

-- The slot of a key.
local function slotOf(key)
  local tagged = match(key, '^[^{]*{([^}]*)}')
  if tagged and tagged ~= '' then key = tagged end
  local high, low = 0, 0
  for at = 1, #key do
    local index = xor(high, byte(key, at))
    if not highs[index] then fill(index) end
    high, low = xor(low, highs[index]), lows[index]
  end
  return (high * 256 + low) % SLOTS
end

-- The ranges in a text `<first>-<last>,…`, as { first, last }.
local function rangesIn(text)
  local ranges = {}
  for first, last in string.gmatch(text, '(%d+)%-(%d+)') do insert(ranges, { tonumber(first), tonumber(last) }) end
  return ranges
end

-- True if the slot of the key is in one of the ranges.
local function isWithin(ranges, key)
  local slot = slotOf(key)
  for _, range in ipairs(ranges) do
    if range[1] <= slot and slot <= range[2] then return true end
  end
  return false
end

-- True if the ranges cover all slots.
local function coverAll(ranges)
  local sorted, next = {}, 0
  for index, range in ipairs(ranges) do sorted[index] = range end
  table.sort(sorted, function(a, b) return a[1] < b[1] end)
  for _, range in ipairs(sorted) do
    if range[1] > next then return false end
    next = math.max(next, range[2] + 1)
  end
  return next >= SLOTS
end

-- True if the database has records of Lockstep's besides those of the plan's shards: emptying it would lose them.
local function hasStrangers(plan)
  local cursor, reply = '0', nil
  repeat
    reply = must('SCAN', cursor, 'MATCH', RESERVED .. '*', 'COUNT', '10000')
    cursor = reply[1]
    for _, name in ipairs(reply[2]) do
      if not isOwn(plan, name) then return true end
    end
  until cursor == '0'
  return false
end

-- Empties the slots of a plan. `flush(plan, isMeant)` is runFlush of apply.lua.
local function flushSlots(plan, flush)
  if not coverAll(plan.ranges) then
    return flush(plan, function(name) return isWithin(plan.ranges, name) end)
  end
  if #plan.renames > 0 or plan.merges or hasStrangers(plan) then
    return flush(plan, function() return true end)
  end
  local names = leasesOf(plan)
  local leases = #names > 0 and must('MGET', unpack(names)) or {}
  flush(plan)
  for index, name in ipairs(names) do
    if leases[index] then must('SET', name, leases[index], 'PXAT', leases[index]) end
  end
end

return { slotOf = slotOf, rangesIn = rangesIn, isWithin = isWithin, coverAll = coverAll, flush = flushSlots }
