-- Commands of a user's script in a round whose replies would differ between regions. Random draws use the operation's
-- seed, scans with a cursor return everything at once and in order, and TIME is the transaction's.
--
-- This text is a module: lua-bundle.ts makes it a function's body. It takes integerOf and refusalOf of run.lua, a
-- function that returns a fresh seed, and one that notes a key. Returns functions by command name: each takes a
-- command of run.lua, and returns its reply, or nil and the text of the error.
local integerOf, refusalOf, freshSeed, note = ...

-- Draws ---------------------------------------------------------------------------------------------------------------

-- Draws from `items`, each a list of strings: `count` different ones, or -count with repetition if it is negative.
local function drawItems(items, count)
  if #items == 0 then return {} end
  if count >= 0 then return drawMembers(items, count, freshSeed()) end
  local draw, drawn = drawer(freshSeed()), {}
  draw(1)
  for index = 1, -count do drawn[index] = items[draw(#items) + 1] end
  return drawn
end

-- Readers by command; itemsOf gives their replies an order that is equal in all regions.
local readers = {
  SRANDMEMBER = function(name) return run({ 'SMEMBERS', name }) end,
  HRANDFIELD = function(name) return run({ 'HGETALL', name }) end,
  ZRANDMEMBER = function(name) return run({ 'ZRANGE', name, '0', '-1', 'WITHSCORES' }) end,
}

local function itemsOf(command, name)
  local flat, failure = readers[command](name)
  if failure then return nil, failure end
  local items, width = {}, command == 'SRANDMEMBER' and 1 or 2
  if width == 1 then sortByBytes(flat) end
  if command == 'HRANDFIELD' then flat = sortedPairs(flat) end
  for index = 1, #flat, width do insert(items, { flat[index], flat[index + 1] }) end
  return items
end

local valued = { HRANDFIELD = 'WITHVALUES', ZRANDMEMBER = 'WITHSCORES' }

-- SRANDMEMBER, HRANDFIELD, ZRANDMEMBER key [count [WITHVALUES or WITHSCORES]]
local function drawFrom(command)
  local name, given = command.name, command.arguments
  local staged = nameToRead(given[2])
  local count = given[3] and integerOf(given[3])
  local isWhole = #given == 4 and valued[name] and string.upper(given[4]) == valued[name]
  -- Redis reports an error in the arguments.
  if given[3] and (not count or (#given > 3 and not isWhole)) then return run({ name, staged, unpack(given, 3) }) end
  if count and count < -SCRIPT_BOUNDS.draws then
    return nil, refusalOf(name .. ' with such a count', 'draw at most ' .. SCRIPT_BOUNDS.draws .. ' at once')
  end
  local items, failure = itemsOf(name, staged)
  if not items then return nil, failure end
  local drawn = drawItems(items, count or 1)
  if not count then return drawn[1] and drawn[1][1] or false end
  local flat = {}
  for _, item in ipairs(drawn) do
    insert(flat, item[1])
    if isWhole then insert(flat, item[2]) end
  end
  return flat
end

local function pop(command)
  local given = command.arguments
  if #given > 3 then return nil, 'ERR syntax error' end
  -- The operation stands for no count by an empty one, so this must not reach it.
  if given[3] == '' then return nil, 'ERR value is out of range, must be positive' end
  return runAny({ POP, given[2], given[3] or '', freshSeed() })
end

-- Cursors -------------------------------------------------------------------------------------------------------------

-- HSCAN, SSCAN, ZSCAN: everything at once, so that no cursor is left to continue with.
local function scanValue(command)
  local name, given = command.name, command.arguments
  local staged, cursor, items, seen = nameToRead(given[2]), given[3], {}, {}
  local width = name == 'SSCAN' and 1 or 2
  repeat
    local reply, failure = run({ name, staged, cursor, unpack(given, 4) })
    if failure then return nil, failure end
    for index = 1, #reply[2], width do
      if not seen[reply[2][index]] then
        seen[reply[2][index]] = true
        insert(items, reply[2][index])
        if width == 2 then insert(items, reply[2][index + 1]) end
      end
    end
    cursor = reply[1]
  until cursor == '0' or given[3] ~= '0'
  if given[3] ~= '0' then return { '0', {} } end
  return { '0', width == 1 and sortByBytes(items) or sortedPairs(items) }
end

-- All keys ------------------------------------------------------------------------------------------------------------

-- Notes the expiries that are near: the latest, their number and their sum. They differ between regions of which one
-- has already expired such a key, and these wait until all of them have passed.
local function noteExpiries(expiries)
  local state = tx.states[EVERY]
  local soon = state.soon or { latest = 0, count = 0, sum = 0 }
  state.soon = soon
  for _, expiry in ipairs(expiries) do
    soon.latest, soon.count, soon.sum = math.max(soon.latest, expiry), soon.count + 1, (soon.sum + expiry) % 4294967296
  end
  local isNone = soon.count == 0
  state.fingerprint = isNone and 'absent' or concat({ whole(soon.latest), whole(soon.count), whole(soon.sum) }, '.')
end

-- Returns the staged keys that match the pattern, in order; or nil and the error. Shadows are matched by their own
-- names, so the pattern gets their prefix.
local function keysLike(pattern)
  note(EVERY)
  for key, state in pairs(tx.states) do
    if state.at ~= 'base' and isVisible(key) then nameToRead(key) end
  end
  local found, failure = run({ 'KEYS', pattern })
  if failure then return nil, failure end
  local kept, soon = {}, {}
  local flush = tx.states[RESERVED .. 'flushed']
  local isFlushed = flush and flush.at == 'flush'
  for _, key in ipairs(found) do
    local state = tx.states[key]
    if isVisible(key) and not isFlushed then
      local expiry = must('PEXPIRETIME', key)
      local isPassed = expiry ~= -1 and expiry <= tx.now
      if expiry > tx.now and expiry <= tx.now + 2 * SCRIPT_BOUNDS.skew then insert(soon, expiry) end
      if not isPassed and (not state or state.at == 'base') then insert(kept, key) end
    end
  end
  for _, prefix in ipairs(shadowPrefixes(tx.id)) do
    for _, name in ipairs(must('KEYS', prefix .. pattern)) do
      local key = sub(name, #prefix + 1)
      if tx.states[key] and tx.states[key].at == 'shadow' then insert(kept, key) end
    end
  end
  noteExpiries(soon)
  return sortByBytes(kept)
end

local function allKeys(command) return keysLike(command.arguments[2]) end

local function countKeys()
  local found, failure = keysLike('*')
  return found and #found, failure
end

local function randomKey()
  local found, failure = keysLike('*')
  if not found then return nil, failure end
  return drawMembers(found, 1, freshSeed())[1] or false
end

local SCANNED = { MATCH = true, COUNT = true, TYPE = true }

-- Returns the options of SCAN, or nil if Redis will refuse them.
local function scanOptions(given)
  local options = { MATCH = '*' }
  for index = 3, #given, 2 do
    local word = string.upper(given[index])
    if not given[index + 1] or not SCANNED[word] then return nil end
    options[word] = given[index + 1]
  end
  if options.COUNT and (integerOf(options.COUNT) or 0) < 1 then return nil end
  return options
end

local function scanKeys(command)
  local given = command.arguments
  local options = scanOptions(given)
  if not options or not match(given[2], '^%d+$') then
    note(EVERY)
    local _, failure = run(given)
    return nil, failure or 'ERR syntax error'
  end
  local found, failure = keysLike(options.MATCH)
  if not found then return nil, failure end
  if given[2] ~= '0' then return { '0', {} } end
  if not options.TYPE then return { '0', found } end
  local kind, kept = string.lower(options.TYPE), {}
  for _, key in ipairs(found) do
    local state = tx.states[key]
    local name = state and state.at == 'shadow' and shadowName(tx.id, key) or key
    if must('TYPE', name).ok == kind then insert(kept, key) end
  end
  return { '0', kept }
end

-- Time, and nothing ---------------------------------------------------------------------------------------------------

local function time() return { whole(math.floor(tx.now / 1000)), whole(tx.now % 1000 * 1000) } end

local function publish(command)
  local channel = command.arguments[2]
  note(RESERVED .. 'channel:' .. channel)
  return stageMessage(RESERVED .. 'channel:' .. channel, channel, command.arguments[3])
end

local function ping(command)
  if #command.arguments > 2 then return nil, "ERR wrong number of arguments for 'ping' command" end
  return command.arguments[2] or { ok = 'PONG' }
end

return {
  SRANDMEMBER = drawFrom, HRANDFIELD = drawFrom, ZRANDMEMBER = drawFrom, SPOP = pop,
  HSCAN = scanValue, SSCAN = scanValue, ZSCAN = scanValue,
  SCAN = scanKeys, KEYS = allKeys, DBSIZE = countKeys, RANDOMKEY = randomKey,
  PUBLISH = publish, TIME = time, PING = ping,
  ECHO = function(command) return command.arguments[2] end,
}
