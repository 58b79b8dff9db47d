-- Judges a round and carries it out: its fences, decisions and prepares, and the locks of older incarnations. round.lua
-- and joint.lua put these steps in order; apply.lua, inline.lua, stage.lua and copy.lua do the work.
--
-- Guarantees: fences, no late and no second prepare, whole and idempotent decisions, no heuristics, the loss check.
-- ARGV[1] is the round. round.lua has its form.
--
-- Replies: as round.lua lists them.

-- The text after the round's nonce in the history: '' if everything was done, else a digest of the decisions, the votes
-- (a letter each) and the copy step. The result of a round depends on more than the history (memory, time), so a region
-- that goes back in time and then gets a late copy of the round would otherwise have the pair that its coordinator
-- knows, without the staged data.
local function outcomeOf(decisions, letters, copy)
  local kind, failed = copy and sub(copy, 1, 4), ''
  if kind == '["f"' then failed = 'f' end
  if kind == '["w"' and copy ~= '["w",[]]' then failed = 'w' end
  if failed == '' and match(decisions, '^a*$') and match(letters, '^y*$') then return '' end
  return '.' .. sub(redis.sha1hex(decisions .. ';' .. letters .. ';' .. failed), 1, 8)
end

-- Raises the fences, which never fall. Returns whether the round leaves a pair in the history, and whether the state
-- has to be written even if it does not.
local function raiseRegion(region, round)
  local epoch, incarnation = math.max(region.epoch, round.epoch), math.max(region.incarnation, round.incarnation)
  local watermarkRises = isAfter(round.lowWatermark[1], round.lowWatermark[2], region.lowWatermark)
  -- The loss of a raised fence has to show too: the messages that it keeps away could come again.
  local isRaised = epoch > region.epoch or incarnation > region.incarnation
  region.epoch, region.incarnation = epoch, incarnation
  raiseLowWatermark(region, round.lowWatermark)
  local leavesPair = isRaised or #round.decisions > 0 or #round.prepares > 0 or round.copy ~= false
  return leavesPair, watermarkRises or region.isOld
end

-- The known records by key, which include the locks of all keys of the round.
local function readKnown(region, round)
  if not region.hasFarLocks then return knownLocks(region) end
  local keys = #round.prepares > 0 and { EVERY } or {}
  for _, decision in ipairs(round.decisions) do
    for _, key in ipairs(decision[4]) do insert(keys, key) end
  end
  for _, prepare in ipairs(round.prepares) do
    for _, key in ipairs(prepare[4]) do insert(keys, key) end
  end
  return readLocks(region, keys)
end

-- Decisions ----------------------------------------------------------------------------------------------------------

-- True as soon as the script's next write no longer shows whether the server is full.
local hasProbed = false

-- Finds out whether the server is full, if that matters to the round: called before a first write that may not show it.
local function probe(round)
  if hasProbed or isFull or not round.grows then return end
  must('SETRANGE', NOWHERE, '0', '')
  hasProbed = true
end

local decisionModule
-- The module of apply.lua, loaded with the first decision that needs it.
local function deciding()
  decisionModule = decisionModule or loadDecisions()
  return decisionModule
end

-- Lists the shadows of a settled transaction for removal, since a script may have stopped before it removed them.
local function addLeftovers(region, id, keys)
  for _, key in ipairs(keys) do insert(region.leftovers, shadowName(id, key)) end
end

-- Judges one decision. Returns its reply, or nil and a plan.
local function judge(region, decision, incarnation, locks)
  local id, keys = idOf(decision[1], decision[2]), decision[4]
  if decision[1] > incarnation then return 'r' end
  if not isAfter(decision[1], decision[2], region.lowWatermark) then return 'a' end
  local count = countLocked(locks, keys, id)
  if isSettled(region, decision[1], decision[2]) then
    -- It was applied, and the script stopped before it had removed all locks.
    if count > 0 then dropLocks(region, lockedKeys(locks, keys, id)) end
    addLeftovers(region, id, keys)
    return 'a'
  end
  if count == #keys and count > 0 then
    return nil, deciding().planOf(id, decision[3] == 1, keys, locks, decision[5])
  end
  if count > 0 or decision[3] == 1 then return 'l' end
  addSettled(region, decision[1], decision[2])
  -- Its prepare may have stopped before it added the locks.
  addLeftovers(region, id, keys)
  return 'a'
end

-- Judges and applies all decisions of the round. Returns their replies, a letter each.
local function decide(region, round, locks)
  if #round.decisions == 0 then return '' end
  local replies, plans, planned = {}, {}, {}
  region.leftovers = {}
  for index, decision in ipairs(round.decisions) do
    local id = idOf(decision[1], decision[2])
    local reply, plan = planned[id], nil
    if not reply then
      reply, plan = judge(region, decision, round.incarnation, locks)
      if plan then
        insert(plans, plan)
        planned[id], reply = plan, plan
      end
    end
    replies[index] = reply
  end
  if #region.leftovers > 0 then probe(round) end
  local _, failure = overMany('UNLINK', nil, region.leftovers)
  if failure then error(failure, 0) end
  if #plans > 0 then
    if not deciding().showsFullness(plans) then probe(round) end
    deciding().apply(region, plans, #round.prepares == 0 and not round.copy)
    hasProbed = true
  end
  for index, reply in ipairs(replies) do
    if type(reply) == 'table' then replies[index] = reply.failure or 'a' end
  end
  return concat(replies)
end

-- Prepares -----------------------------------------------------------------------------------------------------------

-- The only names of this block that the rest needs.
local objection, stageOne, prepareAll
do
-- The vote against a transaction because of another one's lock.
local function lockedVote(key, record)
  local incarnation, sequence = orderOf(holderOf(record))
  return { 'l', key, incarnation, sequence }
end

-- The vote against a transaction about all keys, nil if there is no lock: any lock is in its way.
local function objectionToAll(region, locks)
  for key, record in pairs(locks) do return lockedVote(key, record) end
  if not region.hasFarLocks then return nil end
  local cursor, flat = '0', nil
  repeat
    -- One step of a scan may find nothing even if there are locks.
    cursor, flat = unpack(must('HSCAN', LOCK, cursor, 'COUNT', '10'))
    for index = 1, #flat, 2 do
      if not isDropped(region, flat[index]) then return lockedVote(flat[index], flat[index + 1]) end
    end
  until cursor == '0'
  return nil
end

-- The vote against a transaction that must not be staged, or nil.
function objection(prepare, round, region, locks)
  local id, keys = idOf(prepare[1], prepare[2]), prepare[4]
  if round.epoch < region.epoch then return { 'f', 'epoch' } end
  if prepare[1] < region.incarnation then return { 'f', 'incarnation' } end
  if not isAfter(prepare[1], prepare[2], region.lowWatermark) then return { 't' } end
  if countLocked(locks, keys, id) > 0 then return { 'd' } end
  if isSettled(region, prepare[1], prepare[2]) then return { 't' } end
  if locks[EVERY] then return lockedVote(EVERY, locks[EVERY]) end
  for _, key in ipairs(keys) do
    if key == EVERY then return objectionToAll(region, locks) end
    if locks[key] then return lockedVote(key, locks[key]) end
  end
  return nil
end

-- The modules of loadInline and loadStaging, loaded with the first transaction that needs them.
local stageInline, staging

-- True if the round has one operation that is no script (10): if it takes memory, its first write does.
local function isLone(round)
  local parts = round.prepares[1][5]
  return #round.prepares == 1 and #parts == 1 and #parts[1][2] == 1 and parts[1][2][1][1] ~= 10
end

local function refusedVote(reason, isEndless) return { 'r', reason, isEndless and 1 or nil } end

-- Stages one transaction of the round to which nothing objects. Returns its vote, and the records of its locks, a flat
-- list of (key, record): empty unless the vote is yes.
function stageOne(round, prepare)
  stageInline = stageInline or loadInline()
  local isStaged, item = pcall(stageInline, round, prepare)
  local reason, isEndless
  -- A read that the server refuses is one for stage.lua to judge: it has changed nothing.
  if not isStaged or not item then
    staging = staging or loadStaging()
    if not isLone(round) then probe(round) end
    local id = idOf(prepare[1], prepare[2])
    item, reason, isEndless = staging.stage(id, prepare[3], prepare[4], prepare[5], round.bounds)
  end
  if not item then return refusedVote(reason, isEndless), {} end
  return item.vote, item.records
end

-- Stages the prepares of the round and adds their locks. Returns the votes, and their letters as one text.
function prepareAll(region, round, locks)
  local votes, letters = {}, {}
  for index, prepare in ipairs(round.prepares) do
    local vote, records = objection(prepare, round, region, locks), {}
    if not vote and staging and staging.isLate() then vote = refusedVote('had no time left for it in its round') end
    if not vote and answered > round.bounds[11] then
      vote = refusedVote('had no room left for it in the answer to its round')
    end
    if not vote then vote, records = stageOne(round, prepare) end
    if #records > 0 then addLocks(region, records) end
    votes[index], letters[index] = vote, vote[1]
  end
  return votes, concat(letters)
end
end

-- Older incarnations -------------------------------------------------------------------------------------------------

-- The locks of older incarnations by transaction, oldest first, if the round asks for them; and 1 if there are more
-- than the bound, else 0.
local function olderLocks(region, round)
  if not round.askOlder then return { {}, 0 } end
  local incarnation, bound = round.incarnation, round.bounds[3]
  local byId, ids = {}, {}
  for key, record in pairs(readAllLocks(region)) do
    local id = holderOf(record)
    if orderOf(id) < incarnation then
      if not byId[id] then
        byId[id] = {}
        insert(ids, id)
      end
      insert(byId[id], key)
    end
  end
  table.sort(ids, function(a, b)
    local incarnationA, sequenceA = orderOf(a)
    local incarnationB, sequenceB = orderOf(b)
    if incarnationA ~= incarnationB then return incarnationA < incarnationB end
    return sequenceA < sequenceB
  end)
  local items, count = {}, 0
  for index, id in ipairs(ids) do
    if index > 1 and count + #byId[id] > bound then return { items, 1 } end
    local incarnation, sequence = orderOf(id)
    insert(items, { incarnation, sequence, byId[id] })
    count = count + #byId[id]
  end
  return { items, 0 }
end

-- The round ----------------------------------------------------------------------------------------------------------

-- The decoded argument of a round, by names.
local function roundFrom(given)
  return {
    generation = given[1], epoch = given[2], incarnation = given[3], begin = given[4] == 1, askOlder = given[5] == 1,
    lowWatermark = given[6], lastAcknowledged = given[7], nonce = given[8], decisions = given[9],
    prepares = given[10], bounds = given[11], isVoter = given[12] == 0, lease = given[13] ~= 0 and given[13],
    takes = given[14], grows = given[15] == 1, copy = given[16] ~= 0 and given[16],
  }
end

local function readRound()
  local given = decoded or decodeGiven(ARGV[1])
  -- A round may change its argument, so a repetition decodes it again.
  decoded = nil
  return roundFrom(given)
end

-- The state that the round is judged by: the stored one, a new one if the region takes the round's generation, or nil.
local function regionFor(stored, round)
  local begins = round.copy and round.copy[1] == 'b'
  if not stored then
    -- Keys without a state are somebody else's: no region begins over more of them than an operator has agreed to.
    local mayBegin = (begins or (round.begin and round.isVoter)) and countKeys() <= round.takes
    if not mayBegin then return nil end
    local region = newRegion(round.generation)
    -- Locks may be left of a state that has been lost.
    region.mayHaveLeftovers = true
    return region
  end
  if not begins or stored.generation == round.generation then return stored end
  for _, generation in ipairs(round.copy[4]) do
    if generation == stored.generation then return newRegion(round.generation) end
  end
  -- The state of another Lockstep may be replaced, with no more keys than an operator has agreed to lose.
  if round.copy[5] == stored.generation and countKeys() <= round.takes then return newRegion(round.generation) end
  return stored
end

-- True if a round for a voter comes to a region that is being copied and has seen the round's epoch.
local function isInPhase(region, round) return round.isVoter and region.phase ~= '' and round.epoch <= region.epoch end

-- Judges the round as a whole by the stored state. Returns the region, whether the round ends its copy phase, and the
-- refusal of its step of a copy, if there is one; or nil and the refusal of the whole round.
local function enterRound(stored, round)
  local region = regionFor(stored, round)
  if not region or region.generation ~= round.generation then return nil, refusedFor(stored) end
  local refusal = lossOf(region, round.lastAcknowledged) or (isInPhase(region, round) and 'phase')
  if refusal then return nil, { 'f', refusal } end
  local endsPhase = round.isVoter and region.phase ~= ''
  if round.isVoter then region.phase, region.copyNumber = '', 0 end
  local copyRefusal = round.copy and enterCopy(region, round)
  if stored and stored ~= region then dropShard(stored) end
  return region, endsPhase, copyRefusal
end

-- The reply to a round, once everything else is done. `older` has the locks of older incarnations, and 1 if these are
-- not all.
local function replyTo(region, round, decisions, votes, copy, older)
  -- Nobody waits for a region without a vote, and its coordinator has to know when it can be copied.
  if not round.isVoter and isFull == nil then isFull = loadMemory().look() end
  -- If the server were full, it would have refused the first write of such a round.
  if round.grows and isFull == nil then isFull = false end
  local fullness = isFull ~= nil and (isFull and 1 or 0)
  return { 'd', decisions, votes, lastPairs(region, round.bounds[2]), older[1], older[2], round.lease and clock(),
    copy or false, fullness }
end
