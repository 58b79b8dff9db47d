-- Stages one transaction: runs its parts on the staged state of its keys (state.lua), and makes its vote.
--
-- Guarantees: no plain client sees anything of it. A part that fails is undone whole, and the others stand; in a part
-- that continues on error, a command that fails has changed nothing, since Redis's commands change all or nothing. A
-- transaction that the server refuses, or that raises an error, leaves nothing behind and is voted against. round.lua
-- has the forms of ARGV and the replies.
local SET, DELETE, POP, TTL, SCRIPT, PUBLISH, FLUSH, FAIL = 2, 3, 4, 5, 10, 11, 12, 13

-- The bytes of a value that a failed check returns at most.
local SHOWN = 1000

-- Ends the staging of the transaction, even if a user's script catches the error: this server refuses a step that
-- others may carry out.
local function deny(failure)
  tx.denied = tx.denied or { failure, tx.part }
  error(failure, 0)
end

local function deniedVote(failure, part)
  return { 'e', denialOf(failure), failure, part }
end

-- Checks -------------------------------------------------------------------------------------------------------------

-- Lua allows 200 local names per function, so these have a block of their own.
local holds
do

local ABSENT, EXISTS, EQUALS, TYPE, FIELD = 0, 1, 2, 3, 4

local function typeAt(name)
  local kind = must('TYPE', name).ok
  if kind == 'none' then return false end
  return kind
end

-- The name under which a check reads its key.
local function nameToCheck(kind, key, field)
  local state = stateOf(key)
  if state.at ~= 'part' or not elements.canCheck(key, state, kind == FIELD and field) then return nameToRead(key) end
  return shadowName(tx.id, key)
end

-- Returns the value to compare, false if it is absent or of another type, and the value to show: its type's name then.
local function observed(name, ...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    if match(reply.err, '^WRONGTYPE') then return false, typeAt(name) end
    error(reply.err, 0)
  end
  return reply, reply
end

-- True if the check holds; else false and the actual value or type, false if the key or field is absent.
function holds(check)
  local kind, name = check[1], nameToCheck(check[1], check[2], check[3])
  if kind == EQUALS then
    local value, actual = observed(name, 'GET', name)
    return value == check[3], actual
  end
  if kind == ABSENT or kind == EXISTS or kind == TYPE then
    local found = typeAt(name)
    if kind == ABSENT then return not found, found end
    if kind == EXISTS then return found ~= false, found end
    return found == check[3], found
  end
  local value, actual = observed(name, 'HGET', name, check[3])
  return value == check[4], actual
end

end

-- Operations: each returns its reply, or nil and the text of its error -----------------------------------------------

-- Runs a command. An error that is about the server, or an unknown command, ends the staging of the transaction.
local function run(arguments)
  local reply = invoke(arguments)
  if type(reply) == 'table' and reply.err then
    -- If one server does not know a command, no region may run it.
    if isUnknown(reply.err) then tx.lacking = arguments[1] end
    if tx.lacking then error(reply.err, 0) end
    if denialOf(reply.err) then deny(reply.err) end
    return nil, reply.err
  end
  return reply
end

-- The position of the expiry that a command sets, or nil. Commands that set one come only in these forms, which
-- rewrites.ts and user-scripts/rewrites.lua write.
local function expiryPosition(arguments)
  local name, last = arguments[1], #arguments
  if name == 'PEXPIREAT' then return 3 end
  if (name == 'SET' or name == 'GETEX') and last > 3 and arguments[last - 1] == 'PXAT' then return last end
end

-- Puts off the expiry that the command sets. A text that is no positive integer stays, so that Redis reports the error.
local function putOffArgument(arguments)
  local at = expiryPosition(arguments)
  if at and match(arguments[at] or '', '^[1-9]%d*$') then arguments[at] = putOff(arguments[at]) end
end

local restoreNames
do
  -- These reply with the name of the key from which they popped, and with those of the streams that they read.
  local answersKey = { LMPOP = true, ZMPOP = true }
  local answersKeys = { XREAD = true, XREADGROUP = true }

  -- Replaces staged names in the reply by their keys.
  function restoreNames(reply, command, names)
    if type(reply) ~= 'table' then return end
    if answersKey[command] then reply[1] = names[reply[1]] or reply[1] end
    if not answersKeys[command] then return end
    for _, stream in ipairs(reply) do stream[1] = names[stream[1]] or stream[1] end
  end
end

-- Replaces staged names in an error by their keys.
local function restoreError(failure, names)
  for name, key in pairs(names) do
    local first, last = string.find(failure, name, 1, true)
    if name ~= key and first then failure = sub(failure, 1, first - 1) .. key .. sub(failure, last + 1) end
  end
  return failure
end

-- Returns the arguments with staged names in place of keys and with the expiry put off, and the keys by these names.
local function renamed(operation)
  local arguments, names = {}, {}
  for index, argument in ipairs(operation[2]) do arguments[index] = argument end
  local function rename(positions, nameFor)
    for _, position in ipairs(positions) do
      local key = operation[2][position + 1]
      arguments[position + 1] = nameFor(key)
      names[arguments[position + 1]] = key
    end
  end
  rename(operation[3], nameToWrite)
  rename(operation[4], nameToRead)
  putOffArgument(arguments)
  return arguments, names
end

-- Deletes values that a command has given an expiry that has passed, and puts off one that COPY took from the base.
local function settleExpiries(operation, arguments, reply)
  if #operation[3] == 0 then return end
  if expiryPosition(arguments) then
    for _, position in ipairs(operation[3]) do dropIfPassed(arguments[position + 1]) end
  elseif arguments[1] == 'COPY' and reply == 1 and arguments[2] == operation[2][2] then
    putOffCopied(arguments[3], stateOf(arguments[2]))
  end
end

-- Commands that never change the expiry of their key, nor delete it.
local KEEPING = ' APPEND GEOADD HINCRBY HINCRBYFLOAT HSET HSETNX INCRBYFLOAT LINSERT LPUSH LPUSHX LSET PFADD RPUSH '
  .. 'RPUSHX SADD SETBIT SETRANGE ZADD ZINCRBY '

-- Counts, per written key, the commands that keep it and its expiry (intentOf).
local function noteKeeping(operation)
  if not isNamed(KEEPING, operation[2][1]) then return end
  for _, position in ipairs(operation[3]) do
    local state = stateOf(operation[2][position + 1])
    state.kept = (state.kept or 0) + 1
  end
end

-- Runs a command on staged names. Returns the reply, nil, and the arguments with those names; or nil and the error.
local function runCommand(operation)
  local runner = runners[operation[1]] or runners[operation[2][1]]
  local reply, failure, arguments, names
  if isAddressed(operation) then
    reply, failure, arguments, names = elements.run(operation, renamed, run)
  else
    arguments, names = renamed(operation)
    if runner then
      reply, failure = runner(arguments, operation[6], run)
    else
      reply, failure = run(arguments)
    end
  end
  if failure then return nil, restoreError(failure, names) end
  settleExpiries(operation, arguments, reply)
  noteKeeping(operation)
  restoreNames(reply, arguments[1], names)
  return reply, nil, arguments
end

local function runSet(operation)
  local key, value, pxat = operation[2], operation[3], operation[4]
  local state = stateOf(key)
  if state.at == 'shadow' then
    setTo(nameToWrite(key), value, pxat)
  else
    if state.at == 'part' then elements.leave(key, state) end
    save(key, state)
    state.at, state.value, state.pxat = hasPassed(pxat) and 'gone' or 'inline', value, pxat
  end
  return { ok = 'OK' }
end

-- Deletes the staged key. True if it existed.
local function deleteKey(key)
  local state = stateOf(key)
  if state.at == 'gone' then return false end
  if state.at == 'base' and fingerprint(key, state) == 'absent' then return false end
  local wasThere = state.at ~= 'shadow' or must('UNLINK', nameToWrite(key)) == 1
  if state.at == 'part' then elements.leave(key, state) end
  save(key, state)
  state.at = 'gone'
  return wasThere
end

local function runDelete(operation)
  local count = 0
  for _, position in ipairs(operation[3]) do
    if deleteKey(operation[2][position + 1]) then count = count + 1 end
  end
  return count
end

-- Returns a function that draws integers from 0 to below its bound, from a seed and the same on every server: the
-- minimal standard generator, whose products stay below 2^53.
local function drawer(seed)
  local state = math.fmod(seed, 2147483645) + 1
  return function(bound)
    state = math.fmod(state * 16807, 2147483647)
    return math.floor(state / 2147483647 * bound)
  end
end

-- Moves `count` drawn members to the front of the list, and returns them.
local function drawMembers(members, count, seed)
  local draw = drawer(seed)
  draw(1)
  local drawn = {}
  for index = 1, math.min(count, #members) do
    local other = index + draw(#members - index + 1)
    members[index], members[other] = members[other], members[index]
    drawn[index] = members[index]
  end
  return drawn
end

local function runPop(operation)
  local key, countText = operation[2], operation[3]
  local count = countText == '' and 1 or (match(countText, '^%d+$') and tonumber(countText))
  if not count then return nil, 'ERR value is out of range, must be positive' end
  local members, failure = run({ 'SMEMBERS', nameToRead(key) })
  if failure then return nil, failure end
  local drawn = drawMembers(sortByBytes(members), count, operation[4])
  if #drawn > 0 then
    local removed, refusal = overMany('SREM', nameToWrite(key), drawn)
    if not removed then error(refusal, 0) end
  end
  if countText == '' then return drawn[1] or false end
  return drawn
end

-- The staged expiry of the key in ms; -1 without one, -2 if the key is absent.
local function expiryOf(key)
  local state = stateOf(key)
  if hasShadow(state) then return stagedExpiry(shadowName(tx.id, key)) end
  if state.at == 'gone' then return -2 end
  if state.at == 'inline' then return state.pxat == '' and -1 or tonumber(state.pxat) end
  local print = fingerprint(key, state)
  if print == 'absent' then return -2 end
  return print == 'persistent' and -1 or tonumber(print)
end

-- TTL and PTTL count from `now`, EXPIRETIME and PEXPIRETIME from the epoch.
local function runTtl(operation)
  local name, expiry = operation[2], expiryOf(operation[3])
  if expiry < 0 then return expiry end
  local ms = match(name, 'TTL$') and expiry - tx.now or expiry
  return sub(name, 1, 1) == 'P' and ms or math.floor((ms + 500) / 1000)
end

-- Stages a message. Replies 0 receivers: their number is unknown before the commit, and differs between regions.
local function stageMessage(key, channel, message)
  stateOf(key)
  insert(tx.messages, { key = key, channel = channel, text = message })
  return 0
end

-- Deletes every listed key for the rest of the transaction; the commit deletes the others.
local function runFlushing(operation)
  for key in pairs(tx.states) do
    if isVisible(key) then deleteKey(key) end
  end
  local marker = operation[2][2]
  save(marker, stateOf(marker))
  stateOf(marker).at = 'flush'
  return { ok = 'OK' }
end

-- The digits of an integer that a Lua number cannot hold, read back from the key or field that has the result.
local function digits(order, arguments)
  if order == EXACT_FIELD then return must('HGET', arguments[2], arguments[3]) end
  return must('GET', arguments[2])
end

-- Runs a user's script; lua-bundle.ts defines it after this text. `broken` has the errors of scripts that ran out of
-- stack within a command: their staged changes may be half-done, so the transaction is staged again without them.
local runScript
local broken = {}

local function runAny(operation)
  local kind = operation[1]
  if memory.refuses(operation) then deny(memory.FAILURE) end
  local tooMuch = excess(operation)
  if tooMuch then return nil, tooMuch end
  if kind == SET then return runSet(operation) end
  if kind == DELETE then return runDelete(operation) end
  if kind == POP then return runPop(operation) end
  if kind == TTL then return runTtl(operation) end
  if kind == SCRIPT then return runScript(operation) end
  if kind == PUBLISH then return stageMessage(unpack(operation[2])) end
  if kind == FLUSH then return runFlushing(operation) end
  if kind == FAIL then return nil, operation[2][1] end
  return runCommand(operation)
end

-- Runs one operation. Returns its reply, or nil and the text of its error.
local function perform(operation)
  pace.watch(operation[1] == POP and 'SPOP' or operation[2][1])
  local reply, failure, arguments = runAny(operation)
  if failure then return nil, failure end
  local order = operation[5] or 0
  if order >= EXACT_VALUE and type(reply) == 'number' and math.abs(reply) >= EXACT then
    return { digits = digits(order, arguments) }
  end
  return reply == nil and false or reply
end

-- Parts and votes ----------------------------------------------------------------------------------------------------

-- The outcome of a part whose replies pass the bound, in every region alike. There is a bound because decisions are
-- stored with their outcomes.
local function tooLarge(part)
  local failure = 'ERR the replies of this write are too large: the limit is ' .. whole(tx.outcomeBytes) .. ' bytes; '
    .. 'take fewer at once, or read a large value in ranges (GETRANGE) and remove it by DEL'
  tx.isTooLarge = true
  return { 2, #part[2] - 1, failure }, false, #failure + 3 * ITEM
end

-- Runs checks, then operations. Returns the part's outcome, whether its changes stand, and its bytes. Appends the types
-- of its replies to `shape`.
local function attempt(part)
  for index, check in ipairs(part[1]) do
    local isMet, actual = holds(check)
    if type(actual) == 'string' then actual = sub(actual, 1, SHOWN) end
    if not isMet then return { 1, index - 1, actual }, false, (actual and #actual or 0) + 4 * ITEM end
  end
  local replies, bytes = { 0 }, 3 * ITEM
  for index, operation in ipairs(part[2]) do
    local reply, failure = perform(operation)
    if reply == nil then
      if not part[3] then return { 2, index - 1, failure }, false, #failure + 3 * ITEM end
      reply = { err = failure }
    end
    local sent, more = plainWithin(tx.bytesLeft - bytes, reply, tx.part, index)
    if sent == nil then return tooLarge(part) end
    bytes = bytes + more
    replies[index + 1] = sent
  end
  return replies, true, bytes
end

-- Commands that can change something and have large replies; of other kinds, POP and those from 7 on can.
local answersMuch = {
  BITFIELD = true, GETDEL = true, GETEX = true, GETSET = true, SET = true, LPOP = true, RPOP = true, LMOVE = true,
  RPOPLPUSH = true, LMPOP = true, ZPOPMIN = true, ZPOPMAX = true, ZMPOP = true,
}

-- True if a part can fail after it has changed something: by a later operation, or by a reply that is too large.
local function canFailLate(operations)
  local first = operations[1]
  if not first then return false end
  local isMuch = first[1] == POP or first[1] >= 7 or (first[1] == 0 and answersMuch[first[2][1]])
  -- A thousand bytes suffice for any other reply.
  return #operations > 1 or isMuch or tx.bytesLeft < 1000
end

-- Runs a part, and undoes it if it fails. Returns its outcome.
local function runPart(part)
  tx.saved, tx.backups, tx.canFailLate = {}, {}, canFailLate(part[2])
  local published, noted = #tx.messages, #shape
  local outcome, stands, bytes = attempt(part)
  if bytes > tx.bytesLeft then outcome, stands, bytes = tooLarge(part) end
  tx.bytesLeft = tx.bytesLeft - bytes
  if stands then
    dropBackups()
  else
    undo()
    for index = #shape, noted + 1, -1 do shape[index] = nil end
    for index = #tx.messages, published + 1, -1 do tx.messages[index] = nil end
  end
  return outcome
end

-- The effect of a commit on the key, in the form of a lock record (apply.lua).
local function intentOf(key, state)
  if state.at == 'base' then return 'k' end
  if state.at == 'part' then return elements.intentOf(key, state) end
  if state.at == 'flush' then return 'f' end
  if state.at == 'inline' then return 's|' .. state.pxat .. '|' .. state.value end
  if state.at == 'shadow' then
    local isKept = state.isBaseCopy and state.kept == state.writes
    if isKept then return 'p|' .. (state.fingerprint == 'persistent' and '-1' or state.fingerprint) end
    local expiry = stagedExpiry(shadowName(tx.id, key))
    if expiry ~= -2 then return 'p|' .. whole(expiry) end
  end
  return state.isThere == false and 'k' or 'd'
end

-- Returns the outcomes, the fingerprints, and the lock records as a flat list of (key, record).
local function stageParts(keys, parts)
  local outcomes, fingerprints, records = {}, {}, {}
  for index, part in ipairs(parts) do
    -- The next attempt has fewer parts.
    if index > 1 and pace.isLateForParts() then error('had no time left for all that came together', 0) end
    tx.part, tx.isTooLarge = index - 1, false
    outcomes[index] = runPart(part)
    if tx.denied then error(tx.denied[1], 0) end
    -- With fewer parts before it, its replies may have room.
    if index > 1 and tx.isTooLarge then
      tx.partsThatFit = index - 1
      error('no room', 0)
    end
  end
  local messages = packedByKey(tx.messages)
  for index, key in ipairs(keys) do
    local state = tx.states[key]
    fingerprints[index] = state.fingerprint
    insert(records, key)
    insert(records, tx.id .. '|' .. (messages[key] and 'm|' .. messages[key] or intentOf(key, state)))
  end
  if tx.effects then insert(fingerprints, tx.effects) end
  return outcomes, fingerprints, records
end

-- Stages one transaction within the bounds of its round, which round.lua describes. Returns { vote, records }; or nil,
-- the reason why it could not be staged, and whether that took longer than a vote may. Without a yes vote, nothing
-- staged is left.
local stage
function stage(id, now, keys, parts, bounds)
  tx = {
    id = id, now = now, elementsCopied = bounds[6], stagingMs = bounds[7], expiryPutOffMs = bounds[8],
    voteMs = bounds[9], lcsSteps = bounds[10], outcomeBytes = bounds[4], bytesLeft = bounds[4], states = {},
    stagedNames = {}, messages = {}, part = 0,
  }
  for _, key in ipairs(keys) do tx.states[key] = { at = 'base', fingerprint = '' } end
  shape = {}
  local ok, outcomes, fingerprints, records = pcall(stageParts, keys, parts)
  if again then error(again, 0) end
  if not ok and not tx.denied and denialOf(tostring(outcomes)) then tx.denied = { outcomes, tx.part } end
  if not ok or tx.unlisted then overMany('UNLINK', nil, tx.stagedNames) end
  if tx.isBroken then return stage(id, now, keys, parts, bounds) end
  if tx.lacking then
    return { vote = { 'n', tx.part, tx.lacking }, records = {} }
  end
  if tx.denied then return { vote = deniedVote(tx.denied[1], tx.denied[2]), records = {} } end
  if tx.partsThatFit then return { vote = { 'c', tx.partsThatFit }, records = {} } end
  if not ok then return nil, tostring(outcomes), tx.isEndless end
  if tx.unlisted then return { vote = tx.unlistedVote(), records = {} } end
  return { vote = { 'y', outcomes, concat(shape, ' '), fingerprints }, records = records }
end
