-- Reads for snapshots: applies commits that a coordinator has confirmed, judges leases, meets locks, and runs read
-- commands. snapshot.lua and joint-snapshot.lua put these steps in order.
--
-- Guarantees: commits are applied if all their locks are found, and otherwise ignored; replies keep their bounds.
-- snapshot.lua has the forms of commands and replies.

-- The state of the shard here.
local region

local TOO_LARGE = { err = 'ERR the replies are too large; ask for less at once' }

-- Applies the commits among the decisions whose locks are all here, and writes the state.
local function settle(region, decisions)
  local keys, plans, settled = {}, {}, {}
  for _, decision in ipairs(decisions) do
    for _, key in ipairs(decision[4]) do insert(keys, key) end
  end
  if #keys == 0 then return end
  local locks, module = readLocks(region, keys), loadDecisions()
  for _, decision in ipairs(decisions) do
    local id = idOf(decision[1], decision[2])
    local isLocked = #decision[4] > 0 and countLocked(locks, decision[4], id) == #decision[4]
    if decision[3] == 1 and isLocked then
      if not settled[id] then insert(plans, module.planOf(id, true, decision[4], locks, decision[5])) end
      settled[id] = true
    end
  end
  if #plans == 0 then return end
  module.apply(region, plans, true)
  writeRegion(region)
  module.finish(region)
end

-- The locks of the given keys and the lock of every key, as [key, incarnation, sequence].
local function locksMet(region, given)
  local keys, items = { EVERY }, {}
  for _, key in ipairs(given) do insert(keys, key) end
  local locks = readLocks(region, keys)
  for _, key in ipairs(keys) do
    if locks[key] then
      local incarnation, sequence = orderOf(holderOf(locks[key]))
      insert(items, { key, incarnation, sequence })
    end
  end
  return items
end

-- False during a copy, which brings values of many moments, and without a lease if the reader did not go through the
-- coordinator. The lease is that of the start of the script, since expiry is frozen while a script runs.
local function mayReadStrongly(region, isLeased, lease)
  return region.phase == '' and (not isLeased or lease > 0)
end

-- Every lock, for commands about all keys. A caller that retries with commits to settle has these locks already; later
-- ones belong to writes that nobody was answered about before this read began.
local function everyLock(region)
  local keys = {}
  for key in pairs(readAllLocks(region)) do
    if key ~= EVERY then insert(keys, key) end
  end
  return locksMet(region, keys)
end

-- Commands about all keys --------------------------------------------------------------------------------------------

-- The names without Lockstep's own.
local function visible(names)
  local kept = {}
  for _, name in ipairs(names) do
    if isVisible(name) then insert(kept, name) end
  end
  return kept
end

local function scan(command)
  boundScan(command, 3)
  local reply = redis.pcall(unpack(command))
  if not reply.err then reply[2] = visible(reply[2]) end
  return reply
end

local function keysLike(command)
  local tooMuch = excess(command)
  if tooMuch then return { err = tooMuch } end
  local reply = redis.pcall(unpack(command))
  return reply.err and reply or visible(reply)
end

-- A random key that is not Lockstep's own; after 20 draws of Lockstep's own, the first key of a scan, false if none.
local function randomKey()
  for _ = 1, 20 do
    local name = must('RANDOMKEY')
    if not name or isVisible(name) then return name end
  end
  local cursor = '0'
  repeat
    local reply = scan({ 'SCAN', cursor, 'COUNT', '1000' })
    cursor = reply[1]
    if #reply[2] > 0 then return reply[2][1] end
  until cursor == '0'
  return false
end

-- The names of the shard's own keys, and of its shadows.
local function ownNames(region)
  local names = { STATE, LOCK, LEASE, OLD_STATE, OLD_SETTLED }
  for key, record in pairs(readAllLocks(region)) do
    local id, kind = match(record, '^([^|]+)|(%a)')
    if kind == 'p' or kind == 'e' then insert(names, shadowName(id, key)) end
  end
  return names
end

-- The number of keys without the shard's own and without shadows, which the locks name. There may be pieces of a copy,
-- but no strong read runs during a copy.
local function visibleCount()
  local names = ownNames(region)
  return must('DBSIZE') - overMany('EXISTS', nil, names)
end

local keyspaceCommands = { SCAN = scan, KEYS = keysLike, RANDOMKEY = randomKey, DBSIZE = visibleCount }

local function hasKeyspaceCommand(commands)
  for _, command in ipairs(commands) do
    if keyspaceCommands[command[1][1]] then return true end
  end
  return false
end

-- The undeclared keys that scripts have touched, and whether a script looked at all keys.
local touched = { keys = {}, all = false }

-- Measuring ----------------------------------------------------------------------------------------------------------

local function lengthOf(key)
  local length = redis.pcall('STRLEN', key)
  return type(length) == 'number' and length or 0
end

local function measureAll(arguments)
  local sum = ITEM
  for index = 2, #arguments do sum = sum + lengthOf(arguments[index]) + ITEM end
  return sum
end

local function measureRange(arguments)
  local length = lengthOf(arguments[2])
  local first, last = tonumber(arguments[3]), tonumber(arguments[4])
  if first and last and first >= 0 and last >= 0 then length = math.min(length, math.max(last - first + 1, 0)) end
  return length + ITEM
end

-- Commands whose reply can be measured before it is read: a key may be named many times.
local measures = { GET = measureAll, MGET = measureAll, GETRANGE = measureRange, SUBSTR = measureRange }

-- The bytes of each reply, nil if that is not known, and those of all of them together, nil if one is not known.
local function measure(commands)
  local sizes, sum = {}, 0
  for index, command in ipairs(commands) do
    local measured = measures[command[1][1]]
    sizes[index] = measured and measured(command[1])
    sum = sum and sizes[index] and sum + sizes[index]
  end
  return sizes, sum
end

-- Reading ------------------------------------------------------------------------------------------------------------

local lcsSteps

-- Runs LCS within its steps: it compares each byte with each.
local function compare(arguments)
  local steps = lengthOf(arguments[2]) * lengthOf(arguments[3] or '')
  if steps <= lcsSteps then
    lcsSteps = lcsSteps - steps
  else
    return { err = 'ERR the values are too long to compare: their lengths multiply to more than ' .. whole(lcsSteps) }
  end
  return invoke(arguments)
end

-- Runs one command of the snapshot. Returns its reply, { err = text } if it failed.
local read
function read(arguments)
  local keyspaceCommand = keyspaceCommands[arguments[1]]
  if keyspaceCommand then return keyspaceCommand(arguments) end
  if arguments[1] == 'EVAL_RO' then return scriptReadHost()(arguments, touched, keyspaceCommands, read) end
  if arguments[1] == 'LCS' then return compare(arguments) end
  local tooMuch = excess(arguments)
  if tooMuch then return { err = tooMuch } end
  local reply = invoke(arguments)
  if type(reply) == 'table' and reply.err and isUnknown(reply.err) then
    return { err = "ERR unknown command '" .. arguments[1] .. "': this region's server is older, or lacks a module" }
  end
  return reply
end

local TOO_LONG = { err = 'ERR the snapshot takes too long; ask for less at once' }

-- Returns a function that runs a command, unless it may take long and the first of that kind began more than `longest`
-- ms ago. The clock is read only before such commands.
local function within(longest)
  local readBy
  return function(arguments)
    if not isNamed(HEAVY, arguments[1]) then return read(arguments) end
    if readBy and moment() > readBy then return TOO_LONG end
    readBy = readBy or moment() + longest
    return read(arguments)
  end
end

-- The replies, with an error in place of each that does not fit the bound together with those before it.
local function readAll(commands, sizes, bound, longest)
  local replies, left, spent, readOne = {}, bound, 0, within(longest)
  for index, command in ipairs(commands) do
    local isKnown, reply, bytes = sizes[index] ~= nil, nil, nil
    -- Replies that turn out too large count too, so that the work is bounded as well.
    if spent <= bound and (not isKnown or sizes[index] <= left) then
      reply, bytes = plainWithin(left, readOne(command[1]), index - 1)
      spent = spent + bytes
    end
    if reply == nil then
      replies[index] = plainWithin(MUCH, TOO_LARGE, index - 1)
    else
      replies[index], left = reply, left - bytes
    end
  end
  return replies
end
