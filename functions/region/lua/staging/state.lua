-- The staged state of a transaction's keys. No plain client sees it, and the changes of a part can be undone. stage.lua
-- runs commands on it.
--
-- A key's staged state (`at`):
--   base     as it is in the region; counted as absent if its expiry is at or before the transaction's `now`
--   inline   a plain SET, kept in the lock record; no command at all until the commit
--   shadow   under its shadow's name, which may hold nothing
--   part     a large collection whose shadow holds only the elements that the transaction addresses (elements.lua)
--   gone     deleted
--   flush    no key, but the marker that every key is deleted (reserved-keys.ts)

-- The codes of errors that are about the server rather than the data: with one of them, the region cannot vote.
local serverErrors = {
  OOM = true, MISCONF = true, READONLY = true, NOREPLICAS = true, NOPERM = true, NOAUTH = true,
  LOADING = true, BUSY = true, MASTERDOWN = true, CLUSTERDOWN = true, CROSSSLOT = true, MOVED = true,
}

-- The code of an error that is about the server, or nil.
local function denialOf(failure)
  local code = match(failure, '^%u+')
  return serverErrors[code] and code or nil
end

-- The transaction being staged: { id, now, elementsCopied, stagingMs, expiryPutOffMs, voteMs, lcsSteps, outcomeBytes,
-- bytesLeft, partsThatFit, states, stagedNames, messages, saved, backups, backupSuffix, canFailLate, isTooLarge,
-- byElements }, and further fields of user scripts.
local tx

-- The module of elements.lua, loaded when a collection is first staged by its elements.
local elements

-- The command that counts the elements of a value, by its type.
local lengths = { hash = 'HLEN', set = 'SCARD', zset = 'ZCARD', list = 'LLEN', stream = 'XLEN' }

-- The staged state of a key. Raises an error if the transaction does not list the key.
local function stateOf(key)
  local state = tx.states[key]
  if not state then error('an operation names a key that its transaction does not list', 0) end
  return state
end

-- The name of a key's backup. A user's script inside a part keeps backups of its own, under a suffix.
local function backupName(key, suffix)
  return PREFIX .. 'backup:' .. tx.id .. (suffix or tx.backupSuffix or '') .. ':' .. key
end

-- A staged name expires later than its key by a constant, so that no expiry passes by this region's clock while its
-- transaction is staged, however late that is: everything follows from `now`. The order of expiries is unchanged, so
-- commands compare them correctly. The lock record has the real expiry, which the commit sets.
local function putOff(moment) return whole(tonumber(moment) + tx.expiryPutOffMs) end

-- The real expiry of the value under a staged name, in ms; -1 without one, -2 without a value.
local function stagedExpiry(name)
  local expiry = must('PEXPIRETIME', name)
  return expiry < 0 and expiry or expiry - tx.expiryPutOffMs
end

-- True if an expiry in ms, '' for none, is at or before the transaction's `now`.
local function hasPassed(pxat) return pxat ~= '' and tonumber(pxat) <= tx.now end

-- The base as the vote reports it: `absent`, `persistent`, or its expiry in ms.
local function fingerprint(key, state)
  if state.fingerprint == '' then
    local expiry = must('PEXPIRETIME', key)
    state.isThere = expiry ~= -2
    if expiry == -1 then
      state.fingerprint = 'persistent'
    elseif expiry <= tx.now then
      state.fingerprint = 'absent'
    else
      state.fingerprint = whole(expiry)
    end
  end
  return state.fingerprint
end

-- True if the state is under the shadow's name.
local function hasShadow(state) return state.at == 'shadow' or state.at == 'part' end

-- Saves the state to which the key returns if the current part is undone.
local function save(key, state)
  if not tx.saved[key] then
    local part = state.part
    tx.saved[key] = { at = state.at, value = state.value, pxat = state.pxat, part = part,
      savepoint = part and elements.savepointOf(part) }
  end
end

-- Backs up the shadow of an earlier part, if the current part can fail after it has changed it.
local function protect(key, state)
  if not tx.canFailLate or tx.backups[key] ~= nil then return end
  save(key, state)
  if hasShadow(tx.saved[key]) then
    insert(tx.stagedNames, backupName(key))
    tx.backups[key] = must('COPY', shadowName(tx.id, key), backupName(key), 'REPLACE') == 1
  end
end

-- Makes the key's state a shadow that holds nothing yet, and returns its name.
local function newShadow(key, state)
  save(key, state)
  local name = shadowName(tx.id, key)
  insert(tx.stagedNames, name)
  state.at, state.isBaseCopy = 'shadow', false
  return name
end

-- Deletes a staged value whose expiry is at or before `now`: in every region it has passed, however late its clock is.
local function dropIfPassed(name)
  local expiry = stagedExpiry(name)
  if expiry >= 0 and expiry <= tx.now then must('UNLINK', name) end
end

-- Puts off the expiry that COPY took over from the base.
local function putOffCopied(name, state)
  if state.fingerprint ~= 'persistent' then must('PEXPIREAT', name, putOff(state.fingerprint)) end
end

-- Sets a shadow to a string with an expiry in ms, '' for none.
local function setTo(name, value, pxat)
  if pxat == '' then
    must('SET', name, value)
  else
    must('SET', name, value, 'PXAT', putOff(pxat))
    dropIfPassed(name)
  end
end

-- Turns an inline state into a shadow.
local function materialise(key, state)
  setTo(newShadow(key, state), state.value, state.pxat)
end

-- The name under which a command reads the staged state of `key`.
local function nameToRead(key)
  local state = stateOf(key)
  if state.at == 'inline' then materialise(key, state) end
  if state.at == 'part' and not tx.byElements then elements.makeWhole(key, state) end
  if hasShadow(state) then return shadowName(tx.id, key) end
  if state.at == 'base' and fingerprint(key, state) ~= 'absent' then return key end
  return NOWHERE
end

-- The name under which a command changes the staged state of `key`.
local function nameToWrite(key)
  local state = stateOf(key)
  state.writes = (state.writes or 0) + 1
  local name = shadowName(tx.id, key)
  if state.at == 'inline' then
    materialise(key, state)
  elseif state.at == 'gone' then
    newShadow(key, state)
  elseif state.at == 'base' then
    local isAbsent = fingerprint(key, state) == 'absent'
    newShadow(key, state)
    if not isAbsent then
      must('COPY', key, name, 'REPLACE')
      putOffCopied(name, state)
      state.isBaseCopy = true
    end
  elseif state.at == 'part' and not tx.byElements then
    elements.makeWhole(key, state)
  else
    protect(key, state)
  end
  return name
end

-- Undoes the staged changes of the current part.
local function undo()
  for key, old in pairs(tx.saved) do
    local state = tx.states[key]
    if not hasShadow(old) then
      if hasShadow(state) then must('UNLINK', shadowName(tx.id, key)) end
    elseif tx.backups[key] then
      must('RENAME', backupName(key), shadowName(tx.id, key))
    elseif tx.backups[key] == false then
      must('UNLINK', shadowName(tx.id, key))
    end
    state.at, state.value, state.pxat, state.part = old.at, old.value, old.pxat, old.part
    if old.part then elements.rewind(old.part, old.savepoint) end
  end
end

-- Deletes the backups of a part that stands.
local function dropBackups()
  for key, isMade in pairs(tx.backups) do
    if isMade then must('UNLINK', backupName(key)) end
  end
end
