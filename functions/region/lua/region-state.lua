-- The state of a shard in this region: one string, which a script reads by one GET as it begins and writes by one
-- command as it ends. It has all that a round is judged by: the generation, the fences, the history of rounds, the
-- settled transactions, and the locks. It has no data of users, except in lock records.
--
-- The string, under STATE:
--   3 <generation> <epoch> <incarnation> <lowWatermark> <counter> <copyNumber> <hasFarLocks> <phase> <bytes> <bytes>|
--   <history><settled><locks>
--   lowWatermark   <incarnation>.<sequence>: every transaction up to it is settled
--   hasFarLocks    1 if the hash LOCK may have locks too
--   phase          the token of the copy that fills the region, or nothing
--   bytes          the lengths of `history` and of `settled`
--   history        `,` and then `<counter>:<nonce>,` per round, oldest first; a digest may follow a nonce (round.lua)
--   settled        `<incarnation>.<first>-<last>,` per run of settled transactions above the low watermark, in order
--   locks          `<bytes> <bytes> <key><record>` per lock
--
-- A lock record is a packed string, `<incarnation>.<sequence>|<intent>`; apply.lua describes the intents. The locks of
-- a transaction are near, in the string, if all of them fit there; else all are far, in LOCK, a hash of records by key.
--
-- Guarantees: the state changes by one command, so a script that stops earlier leaves the state unchanged. Far locks
-- are added and removed after it. If the script stops there, nobody was answered about the transaction whose locks are
-- missing, so it is aborted; and a settled transaction that still has locks only loses them.

-- The first number of the string. Formats 1 and 2 were hashes, which this release reads and replaces. It refuses a
-- later format: the state of a later release must neither count as a loss nor be settled in part.
local FORMAT = 3

-- The maximum bytes of near locks, keys and records: more of them would slow down each read of the region.
local NEAR_BYTES = 8192

-- The text form of a transaction's order, which lock records and shadows have.
local function idOf(incarnation, sequence) return whole(incarnation) .. '.' .. whole(sequence) end

-- The id of the transaction that holds a lock.
local function holderOf(record) return match(record, '^[^|]+') end

-- The incarnation and the sequence of an id.
local function orderOf(id)
  local incarnation, sequence = match(id, '^(%d+)%.(%d+)$')
  return tonumber(incarnation), tonumber(sequence)
end

-- The name under which a transaction stages the key.
local function shadowName(id, key) return PREFIX .. 'shadow:' .. id .. ':' .. key end

-- True if the first transaction comes after the other one, [incarnation, sequence].
local function isAfter(incarnation, sequence, other)
  if incarnation ~= other[1] then return incarnation > other[1] end
  return sequence > other[2]
end

-- The state of a region that begins.
local function newRegion(generation)
  return {
    generation = generation, epoch = 0, incarnation = 0, lowWatermark = { 0, 0 }, counter = 0, copyNumber = 0,
    phase = '', history = ',', settled = '', lockText = '', hasFarLocks = false, far = {},
  }
end

-- Reading ------------------------------------------------------------------------------------------------------------

-- The state in a string of this format, or { laterFormat = number } for a later one. Raises an error for another text.
local function parseRegion(text)
  local generation, epoch, incarnation, lowIncarnation, lowSequence, counter, copyNumber, hasFarLocks, phase,
    historyBytes, settledBytes, at =
    match(text, '^3 (%d+) (%d+) (%d+) (%d+)%.(%d+) (%d+) (%d+) ([01]) ([^ ]*) (%d+) (%d+)|()')
  if not generation then
    local other = tonumber(match(text, '^%d+ ') or 0)
    if other <= FORMAT then error('the state of the shard cannot be read', 0) end
    return { laterFormat = other }
  end
  local second = at + historyBytes
  local third = second + settledBytes
  return {
    generation = tonumber(generation), epoch = tonumber(epoch), incarnation = tonumber(incarnation),
    lowWatermark = { tonumber(lowIncarnation), tonumber(lowSequence) }, counter = tonumber(counter),
    copyNumber = tonumber(copyNumber), hasFarLocks = hasFarLocks == '1', phase = phase,
    history = sub(text, at, second - 1), settled = sub(text, second, third - 1), lockText = sub(text, third), far = {},
  }
end

-- The runs of settled transactions, as { incarnation, first, last }.
local function runsOf(region)
  if not region.runs then
    region.runs = {}
    for incarnation, first, last in string.gmatch(region.settled, '(%d+)%.(%d+)%-(%d+)') do
      insert(region.runs, { tonumber(incarnation), tonumber(first), tonumber(last) })
    end
  end
  return region.runs
end

-- The index of the last run that begins at or before the transaction, 0 if there is none.
local function runBefore(runs, incarnation, sequence)
  local low, high = 0, #runs
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    local run = runs[middle]
    if run[1] < incarnation or (run[1] == incarnation and run[2] <= sequence) then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- True if the transaction, which is above the low watermark, is settled.
local function isSettled(region, incarnation, sequence)
  if region.settled == '' and not region.runs then return false end
  local runs = runsOf(region)
  local run = runs[runBefore(runs, incarnation, sequence)]
  return run ~= nil and run[1] == incarnation and sequence <= run[3]
end

-- Records that the transaction is settled.
local function addSettled(region, incarnation, sequence)
  if isSettled(region, incarnation, sequence) then return end
  local runs = runsOf(region)
  local at = runBefore(runs, incarnation, sequence)
  local run, after = runs[at], runs[at + 1]
  local joins = after and after[1] == incarnation and after[2] == sequence + 1
  if run and run[1] == incarnation and run[3] == sequence - 1 then
    run[3] = joins and after[3] or sequence
    if joins then table.remove(runs, at + 1) end
  elseif joins then
    after[2] = sequence
  else
    insert(runs, at + 1, { incarnation, sequence, sequence })
  end
end

-- Raises the region's low watermark to the given one, unless that is lower, and forgets the settled transactions up to
-- it.
local function raiseLowWatermark(region, lowWatermark)
  if not isAfter(lowWatermark[1], lowWatermark[2], region.lowWatermark) then return end
  region.lowWatermark = lowWatermark
  if region.settled == '' and not region.runs then return end
  local kept = {}
  for _, run in ipairs(runsOf(region)) do
    if isAfter(run[1], run[3], lowWatermark) then
      if not isAfter(run[1], run[2], lowWatermark) then run[2] = lowWatermark[2] + 1 end
      insert(kept, run)
    end
  end
  region.runs = kept
end

-- Formats 1 and 2 -----------------------------------------------------------------------------------------------------

local OLD_STATE, OLD_SETTLED = PREFIX .. 'meta', PREFIX .. 'done'

-- The state of format 1 or 2, or nil. All its locks are in LOCK. A settled transaction that still has locks may have
-- been applied only in part, so it counts as not settled.
local function readOldRegion()
  local found = must('HMGET', OLD_STATE, 'generation', 'epoch', 'incarnation', 'floor', 'counter', 'history', 'phase',
    'copyNumber', 'format')
  if not found[1] then return nil end
  local format = tonumber(found[9] or 1)
  if format >= FORMAT then return { laterFormat = format } end
  local region = newRegion(tonumber(found[1]))
  region.epoch, region.incarnation = tonumber(found[2]), tonumber(found[3])
  region.lowWatermark = { orderOf(found[4]) }
  region.counter, region.phase, region.copyNumber = tonumber(found[5]), found[7] or '', tonumber(found[8] or 0)
  local nonces = {}
  for nonce in string.gmatch(found[6], '[^,]+') do insert(nonces, nonce) end
  for index, nonce in ipairs(nonces) do
    region.history = region.history .. whole(region.counter - #nonces + index) .. ':' .. nonce .. ','
  end
  local holders = {}
  for _, record in ipairs(must('HVALS', LOCK)) do
    holders[holderOf(record)], region.hasFarLocks = true, true
  end
  for _, id in ipairs(must('ZRANGE', OLD_SETTLED, '0', '-1')) do
    if not holders[id] then addSettled(region, orderOf(id)) end
  end
  region.isOld = true
  return region
end

-- Returns the state, nil if the region has none, or { laterFormat = number } if this release cannot read it; and if
-- `withLease` is set, the expiry of the lease in ms, by the region's clock, 0 if there is none.
local function readRegion(withLease)
  local text, lease
  if withLease then
    text, lease = unpack(must('MGET', STATE, LEASE))
    -- A lease of format 2 has the value 1.
    if lease == '1' then lease = must('PEXPIRETIME', LEASE) end
  end
  -- MGET returns nil for a key of another type, as for a missing one; GET raises an error.
  text = text or must('GET', STATE)
  return text and parseRegion(text) or readOldRegion(), tonumber(lease or 0)
end

-- Locks --------------------------------------------------------------------------------------------------------------

-- The records of the near locks, by key, and of the far ones that have been read.
local function knownLocks(region)
  if region.locks then return region.locks end
  local locks, at, text = {}, 1, region.lockText
  while at <= #text do
    local keyBytes, recordBytes, first = match(text, '^(%d+) (%d+) ()', at)
    local second = first + keyBytes
    at = second + recordBytes
    locks[sub(text, first, second - 1)] = sub(text, second, at - 1)
  end
  region.locks = locks
  return locks
end

-- True if the far lock of the key is still in LOCK although it has been removed.
local function isDropped(region, key) return region.dropped ~= nil and region.dropped[key] == true end

-- Adds a record of LOCK to the locks that are known.
local function addFar(region, key, record)
  if isDropped(region, key) or region.locks[key] then return end
  region.locks[key], region.far[key] = record, true
end

-- The known records by key, which then include the locks of all `keys`.
local function readLocks(region, keys)
  local locks = knownLocks(region)
  if not region.hasFarLocks then return locks end
  for first = 1, #keys, CHUNK do
    local last = math.min(first + CHUNK - 1, #keys)
    for index, record in ipairs(must('HMGET', LOCK, unpack(keys, first, last))) do
      if record then addFar(region, keys[first + index - 1], record) end
    end
  end
  return locks
end

-- The records of all locks, by key.
local function readAllLocks(region)
  local locks = knownLocks(region)
  if not region.hasFarLocks then return locks end
  local flat = must('HGETALL', LOCK)
  for index = 1, #flat, 2 do addFar(region, flat[index], flat[index + 1]) end
  return locks
end

-- The number of `keys` that the transaction has locked.
local function countLocked(locks, keys, id)
  local count = 0
  for _, key in ipairs(keys) do
    if locks[key] and holderOf(locks[key]) == id then count = count + 1 end
  end
  return count
end

-- Those of `keys` that the transaction has locked.
local function lockedKeys(locks, keys, id)
  local locked = {}
  for _, key in ipairs(keys) do
    if locks[key] and holderOf(locks[key]) == id then insert(locked, key) end
  end
  return locked
end

-- Removes the locks of these keys; writeRegion removes far ones from LOCK after it has written the state.
local function dropLocks(region, keys)
  for _, key in ipairs(keys) do
    region.locks[key] = nil
    if region.far[key] then
      region.dropped, region.farDropped = region.dropped or {}, region.farDropped or {}
      region.dropped[key] = true
      insert(region.farDropped, key)
      region.far[key] = nil
    end
  end
  region.isChanged = true
end

-- Adds the locks of one transaction, a flat list of (key, record): near ones if all of them fit, else far ones.
local function addLocks(region, records)
  local size, locks = 0, region.locks
  if not region.nearBytes then
    region.nearBytes = 0
    for key, record in pairs(locks) do
      if not region.far[key] then region.nearBytes = region.nearBytes + #key + #record end
    end
  end
  for index = 1, #records do size = size + #records[index] end
  local isNear = region.nearBytes + size <= NEAR_BYTES
  if isNear then region.nearBytes = region.nearBytes + size end
  for index = 1, #records, 2 do
    locks[records[index]] = records[index + 1]
    if not isNear then
      region.farAdded = region.farAdded or {}
      insert(region.farAdded, records[index])
      insert(region.farAdded, records[index + 1])
      region.far[records[index]] = true
    end
  end
  region.isChanged = true
end

-- Writing ------------------------------------------------------------------------------------------------------------

local function settledText(region)
  if not region.runs then return region.settled end
  local items = {}
  for index, run in ipairs(region.runs) do items[index] = format('%.0f.%.0f-%.0f,', run[1], run[2], run[3]) end
  return concat(items)
end

local function lockText(region)
  if not region.isChanged then return region.lockText end
  local items, far = {}, region.far
  for key, record in pairs(region.locks) do
    if not far[key] then items[#items + 1] = #key .. ' ' .. #record .. ' ' .. key .. record end
  end
  return concat(items)
end

local function encodeRegion(region)
  local settled = settledText(region)
  return format('3 %.0f %.0f %.0f %.0f.%.0f %.0f %.0f %s %s %.0f %.0f|', region.generation, region.epoch,
    region.incarnation, region.lowWatermark[1], region.lowWatermark[2], region.counter, region.copyNumber,
    region.hasFarLocks and '1' or '0', region.phase, #region.history, #settled) .. region.history .. settled
    .. lockText(region)
end

-- Writes the state, and by the same command the plain values of decisions: `region.values`, a flat list of (key,
-- value). Then removes and adds far locks, and removes an older format. Raises an error of the server.
local function writeRegion(region)
  local values = region.values
  if region.farAdded then
    region.hasFarLocks = true
  elseif region.hasFarLocks and not region.farDropped and must('EXISTS', LOCK) == 0 then
    region.hasFarLocks = false
  end
  local text = encodeRegion(region)
  if values and #values > 0 then
    values[#values + 1] = STATE
    values[#values + 1] = text
    local reply = redis.pcall('MSET', unpack(values))
    if reply.err then
      noteFailure(reply.err)
      again = 'careful'
      error(reply.err, 0)
    end
  else
    must('SET', STATE, text)
  end
  if region.mayHaveLeftovers then must('UNLINK', LOCK) end
  if region.farDropped then
    local _, failure = overMany('HDEL', LOCK, region.farDropped)
    if failure then error(failure, 0) end
    region.dropped = nil
  end
  if region.farAdded then
    local _, failure = overMany('HSET', LOCK, region.farAdded)
    if failure then error(failure, 0) end
  end
  if region.isOld then must('UNLINK', OLD_STATE, OLD_SETTLED) end
end

-- History ------------------------------------------------------------------------------------------------------------

-- Appends a pair with the next counter, and forgets the oldest one if there were more than `kept`.
local function appendPair(region, nonce, kept)
  region.counter = region.counter + 1
  region.history = region.history .. whole(region.counter) .. ':' .. nonce .. ','
  local oldest = tonumber(match(region.history, '^,(%d+):'))
  if region.counter - oldest >= kept then
    region.history = sub(region.history, (string.find(region.history, ',', 2, true)))
  end
end

-- The last `count` pairs, in the form of the history.
local function lastPairs(region, count)
  local first = string.find(region.history, ',' .. whole(region.counter - count + 1) .. ':', 1, true)
  return first and sub(region.history, first) or region.history
end

-- Nil if the region has the pair `lastAcknowledged`, or if that is 0; else the refusal: 'history' if the pair is older
-- than the kept history, or 'lost'.
local function lossOf(region, lastAcknowledged)
  if lastAcknowledged == 0 then return nil end
  local counter, nonce = lastAcknowledged[1], lastAcknowledged[2]
  if string.find(region.history, ',' .. whole(counter) .. ':' .. nonce .. ',', 1, true) then return nil end
  local oldest = tonumber(match(region.history, '^,(%d+):'))
  return (counter > region.counter or (oldest and counter >= oldest)) and 'lost' or 'history'
end

-- Refusals -----------------------------------------------------------------------------------------------------------

-- Up to this number, keys are counted one by one: exactly, without Lockstep's own and without expired ones.
local COUNTED = 1000

-- The number of keys in this database besides Lockstep's own.
local function countKeys()
  local size = must('DBSIZE')
  if size > COUNTED then return size - must('EXISTS', STATE, LOCK, LEASE, OLD_STATE, OLD_SETTLED) end
  local count = 0
  for _, name in ipairs(must('KEYS', '*')) do
    if isVisible(name) then count = count + 1 end
  end
  return count
end

-- The refusal of another generation than the region's; `region` is nil if there is no state.
local function refusedFor(region) return { 'f', 'generation', region and region.generation or 0, countKeys() } end

-- The refusal of a state that this release cannot read, or nil.
local function laterFormat(region)
  return region and region.laterFormat and { 'f', 'format', region.laterFormat } or nil
end
