-- Reads and writes the state whose text region-state.lua describes, with its older formats and its far locks, and
-- refuses requests that the state does not allow. It is apart from region-state.lua because the most common rounds
-- (set-round.lua) end before they need it.

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
  local text, lease = foundState, foundLease
  foundState, foundLease = nil, nil
  if withLease and not text then
    text, lease = unpack(must('MGET', STATE, LEASE))
    -- A lease of format 2 has the value 1.
    if lease == '1' then lease = must('PEXPIRETIME', LEASE) end
  end
  -- MGET returns nil for a key of another type, as for a missing one; GET raises an error.
  text = text or must('GET', STATE)
  return text and parseRegion(text) or readOldRegion(), tonumber(lease or 0)
end

-- Locks --------------------------------------------------------------------------------------------------------------

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

-- The text of the state as it is to be written.
local function textToWrite(region)
  if region.farAdded then
    region.hasFarLocks = true
  elseif region.hasFarLocks and not region.farDropped and must('EXISTS', LOCK) == 0 then
    region.hasFarLocks = false
  end
  return encodeRegion(region)
end

-- Writes values and states by one command, from a flat list of (key, value). Raises an error of the server.
local function setTogether(values)
  local reply = redis.pcall('MSET', unpack(values))
  if reply.err then
    noteFailure(reply.err)
    again = 'careful'
    error(reply.err, 0)
  end
end

-- Completes a state whose text has been written: removes and adds far locks, and removes an older format. Raises an
-- error of the server.
local function completeRegion(region)
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

-- Writes the state, and by the same command the plain values of decisions: `region.values`, a flat list of (key,
-- value). Then completes it. Raises an error of the server.
local function writeRegion(region)
  local values, text = region.values, textToWrite(region)
  if values and #values > 0 then
    values[#values + 1] = STATE
    values[#values + 1] = text
    setTogether(values)
  else
    must('SET', STATE, text)
  end
  completeRegion(region)
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
