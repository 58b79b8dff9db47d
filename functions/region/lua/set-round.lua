-- Carries out the most common rounds: transactions that only set values, and decisions about such transactions, with
-- nothing else to do. lua-bundle.ts puts this text before most definitions of the short texts, so that these rounds do
-- not pay for them: they took more time than the work itself.
--
-- ARGV[1] is that of round.lua.
--
-- Replies: those of round.lua, {'d', …} or {'x', text}.
--
-- Guarantees: the result is the one that round.lua would give. A round with anything else in it (another command, a
-- check, an objection, a far lock, a fence, a refusal, an error) is left to round.lua. Values with an expiry may have
-- been set by then, for a decision that round.lua then applies again.

-- The maximum length of an argument whose locks may be near, in bytes.
local SET_ROUND_BYTES = 4 * NEAR_BYTES

-- True as soon as the state has been written: only the lease is left to do.
local isWritten = false

-- Returns { records by key, vote } for a transaction that only sets values, each of its keys once, else nil.
local function setsOf(prepare)
  local id, now, count = idOf(prepare[1], prepare[2]), prepare[3], 0
  local records, outcomes, notes, fingerprints = {}, {}, {}, {}
  for index, part in ipairs(prepare[5]) do
    if #part[1] > 0 then return nil end
    local replies = { 0 }
    for position, operation in ipairs(part[2]) do
      if operation[1] ~= 2 then return nil end
      local key, pxat = operation[2], operation[4]
      if records[key] or (pxat ~= '' and tonumber(pxat) <= now) then return nil end
      records[key], count = id .. '|s|' .. pxat .. '|' .. operation[3], count + 1
      replies[position + 1], notes[count], fingerprints[count] = 'OK', format('%d.%ds', index - 1, position), ''
    end
    outcomes[index] = replies
  end
  for _, key in ipairs(prepare[4]) do
    if not records[key] then return nil end
  end
  if count ~= #prepare[4] then return nil end
  return { records, { 'y', outcomes, concat(notes, ' '), fingerprints } }
end

-- Adds the locks of all prepares, whose sets are given. False if there is an objection, or if they do not fit.
local function lockAll(region, locks, prepares, sets)
  local bytes = #region.lockText
  if locks[EVERY] then return false end
  for index, prepare in ipairs(prepares) do
    local incarnation, sequence = prepare[1], prepare[2]
    if incarnation < region.incarnation or not isAfter(incarnation, sequence, region.lowWatermark) then return false end
    if isSettled(region, incarnation, sequence) then return false end
    for key, record in pairs(sets[index][1]) do
      if locks[key] or key == EVERY then return false end
      locks[key], bytes = record, bytes + #key + #record + ITEM
    end
  end
  return bytes <= NEAR_BYTES
end

-- Adds the values of a committed transaction's key to `values`, or to `expiring` with its expiry, and drops its lock.
-- False if the transaction has not locked the key, or if its intent is not a value.
local function takeValue(locks, id, key, isCommit, values, expiring)
  local holder, pxat, at = match(locks[key] or '', '^([^|]*)|s|(%d*)|()')
  if holder ~= id then return false end
  if isCommit then
    local into = pxat == '' and values or expiring
    into[#into + 1], into[#into + 2] = key, sub(locks[key], at)
    if pxat ~= '' then into[#into + 1] = pxat end
  end
  locks[key] = nil
  return true
end

-- Decides all transactions in the state alone. Returns the values to set, a flat list of (key, value), and those that
-- expire, of (key, value, expiry); or nil.
local function settleAll(region, locks, decisions)
  local values, expiring = {}, {}
  for _, decision in ipairs(decisions) do
    local incarnation, sequence, isCommit, keys = unpack(decision)
    if incarnation > region.incarnation then return nil end
    if isAfter(incarnation, sequence, region.lowWatermark) then
      if #keys == 0 or isSettled(region, incarnation, sequence) then return nil end
      local id = idOf(incarnation, sequence)
      for _, key in ipairs(keys) do
        if not takeValue(locks, id, key, isCommit == 1, values, expiring) then return nil end
      end
      addSettled(region, incarnation, sequence)
    end
  end
  return values, expiring
end

-- Reads the state, and the lease if that is asked for. Both stay for round.lua. Returns the state and the
-- expiry of the lease, or nil.
local function readState(withLease)
  if withLease then
    local found = redis.pcall('MGET', STATE, LEASE)
    foundState, foundLease = found[1], found[2]
  else
    foundState = redis.pcall('GET', STATE)
  end
  if type(foundState) ~= 'string' or foundLease == '1' then
    foundState = nil
    return nil
  end
  return parseRegion(foundState), tonumber(foundLease or 0)
end

-- Writes the values and the state, as writeRegion does. False if the server refuses one of them.
local function writeState(text, values, expiring)
  for index = 1, #expiring, 3 do
    if redis.pcall('SET', expiring[index], expiring[index + 1], 'PXAT', expiring[index + 2]).err then return false end
  end
  if #values == 0 then return not redis.pcall('SET', STATE, text).err end
  values[#values + 1], values[#values + 2] = STATE, text
  return not redis.pcall('MSET', unpack(values)).err
end

-- Returns the reply to the round, or nil to leave it to round.lua.
local function runSetRound()
  if #ARGV[1] > SET_ROUND_BYTES or string.find(ARGV[1], '\\udc', 1, true) then return nil end
  decoded = cjson.decode(ARGV[1])
  local generation, epoch, incarnation, _, asksOlder, lowWatermark, lastAcknowledged, nonce, decisions, prepares,
    bounds, role, lease, _, grows, copy = unpack(decoded)
  if asksOlder == 1 or role ~= 0 or copy ~= 0 then return nil end
  if #decisions == 0 and #prepares == 0 then return nil end
  local sets, votes = {}, {}
  for index, prepare in ipairs(prepares) do
    local item = setsOf(prepare)
    if not item then return nil end
    sets[index], votes[index] = item, item[2]
  end
  local region, expiry = readState(lease ~= 0)
  if not region or region.generation ~= generation or region.hasFarLocks or region.phase ~= '' then return nil end
  if region.epoch ~= epoch or region.incarnation ~= incarnation or lossOf(region, lastAcknowledged) then return nil end
  raiseLowWatermark(region, lowWatermark)
  local locks = knownLocks(region)
  local values, expiring = settleAll(region, locks, decisions)
  if not values or not lockAll(region, locks, prepares, sets) then return nil end
  region.isChanged, region.copyNumber = true, 0
  appendPair(region, nonce, bounds[1])
  isWritten = writeState(encodeRegion(region), values, expiring)
  if not isWritten then return nil end
  if lease ~= 0 then
    grantLease(region, { lease = lease, isVoter = true, epoch = epoch, incarnation = incarnation }, expiry)
  end
  return { 'd', string.rep('a', #decisions), votes, lastPairs(region, bounds[2]), {}, 0, lease ~= 0 and clock(), false,
    grows == 1 and 0 }
end

do
  local isRun, reply = pcall(runSetRound)
  if isRun and reply then return reply end
  -- round.lua must not run a round again whose state has been written.
  if isWritten then return { 'x', tostring(type(reply) == 'table' and reply.err or reply) } end
end
