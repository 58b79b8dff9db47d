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

-- The beginnings of the names under which a transaction stages its keys.
local function shadowPrefixes(id) return { shadowName(id, '') } end

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
