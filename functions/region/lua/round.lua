-- One round: every decision that this region has not acknowledged, then prepares, as one atomic step.
--
-- Guarantees: fences, no late and no second prepare, whole and idempotent decisions, no heuristics, the loss check.
-- Everything that can fail is called protected, and ordered so that stopping half-way can be repeated.
--
-- ARGV[1]: a JSON text, written by encoding.ts:
--   [generation, epoch, incarnation, begin, askOlder, floor, seen, mark, decisions, prepares, bounds, role, lease,
--   takes, copy]
--   floor      [incarnation, sequence]
--   seen       [counter, mark], or 0
--   decision   [incarnation, sequence, isCommit, keys]
--   prepare    [incarnation, sequence, now, keys, parts]; a part is [checks, operations], or
--              [checks, operations, 1] where it keeps going when an operation fails
--   check      [kind, key, …]: 0 absent, 1 exists, 2 equals (value), 3 type (type), 4 field (field, value)
--   operation  [kind, args, writes, reads, order] for 0 write, 1 read, 3 delete, 6 append, 9 bits; positions count
--              from 0
--              the same with letters behind it for 0 write and 1 read where the command addresses elements
--              (addressing.ts)
--              the same with the allowance for clocks in ms behind it for 7 deliver, 8 claim
--              the same with a seed behind it for 10 script; the same for 11 publish, 12 flush, 13 fail;
--              14 trim and 15 distances as 0
--              [2, key, value, pxat] for set; [4, key, count, seed] for pop; [5, name, key] for ttl: TTL, PTTL,
--              EXPIRETIME or PEXPIRETIME
--   order      0 none, 1 members, 2 pairs, 3 exact, 4 exact-field
--   bounds     [pairs kept, pairs answered, locks of older incarnations listed, bytes of a transaction's outcomes,
--              bytes of values that a step of a copy reads, elements of a collection that is staged as a copy,
--              ms that what may take long of all prepares may take together, ms that the expiries of shadows are put
--              off by, ms after which nobody waits for a vote, steps of LCS of one transaction, bytes of outcomes after
--              which no further transaction is staged]
--   role       0 voter, 1 copying, 2 out
--   lease      [reading or -1, ttl], or 0
--   takes      a database without state is taken only if it holds no more keys than this
--   copy       ['b', token, number, [generation…], generation or 0] begin, ['s', cursor, count, form] scan,
--              ['r', [key, from, …], form] read, ['w', token, number, items] write, ['l', cursor, count] list, or 0;
--              form 0 dump, 1 logical, 2 absent.
--              Its keys and what is in items have one character a byte (copy-source.lua, copy-target.lua).
--   Booleans are 0 and 1.
--
-- Replies, read by decoding.ts; a nil is one of Redis:
--   {'d', 'alr…', {vote…}, {{counter, mark}…}, {{incarnation, sequence, keys}…}, 0|1, clock|nil, copy|nil,
--    0|1|nil}                                                                                            executed
--       a acknowledged, l lost, r refused, u of a form that this release does not know
--       1 if older locks were left out
--       votes: {'y', outcomes, shape, fingerprints}, {'t'} late, {'d'} duplicate, {'l', key, incarnation, sequence}
--       locked, {'f', 'epoch'|'incarnation'} fenced, {'r', reason} refused, {'r', reason, 1} refused as it takes
--       longer than a vote may, {'c', parts} refused, as only so many of its first parts have room for their replies,
--       {'u', {{part, keys}…}} unlisted,
--       {'n', part, command} lacking, {'e', code, reason, part} denied by the server, of a part or -1.
--       An outcome is that of PartOutcomeTag, and its shape that of reply-shape.ts.
--       the last one: whether the server is out of memory; nil if nothing has asked
--       copy is one ASCII JSON text: ["b"] begun, ["r",items,locked,left,cursor|null,total|null] read,
--       ["w",[[key,reason]…]] written, ["l",keys,cursor|null] listed, ["f","token"|"number"|"epoch"] refused
--   {'f', 'generation', has, keys}, {'f', 'lost'}, {'f', 'history'}, {'f', 'phase'}   refused whole
--   {'f', 'format', has}                              refused whole: of a later release
--   {'x', text}                                                       failed; may have run in part

-- History ------------------------------------------------------------------------------------------------------------

local function appendMark(meta, mark, kept)
  meta.counter = meta.counter + 1
  meta.history = meta.history .. mark .. ','
  if meta.counter > kept then meta.history = sub(meta.history, string.find(meta.history, ',', 1, true) + 1) end
end

-- Puts what the round came to behind its mark, if that is anything but all of it done: it depends on more than the
-- history (memory, time), so a region that goes back in time and then gets a late copy of the round would have the pair
-- that its coordinator knows, and not what was staged.
local function noteOutcome(meta, round, outcome)
  meta.history = sub(meta.history, 1, -1 - #round.mark - 1) .. round.mark .. outcome .. ','
  must('HSET', META, 'history', meta.history)
end

-- '' for a round of which all was done, else a digest of what was not. `letters` has one a vote.
local function outcomeOf(decisions, letters, copy)
  local kind, failed = copy and sub(copy, 1, 4), ''
  if kind == '["f"' then failed = 'f' end
  if kind == '["w"' and copy ~= '["w",[]]' then failed = 'w' end
  if failed == '' and match(decisions, '^a*$') and match(letters, '^y*$') then return '' end
  return '.' .. sub(redis.sha1hex(decisions .. ';' .. letters .. ';' .. failed), 1, 8)
end

local function lastMarks(meta, count)
  local marks, items = marksOf(meta), {}
  for index = math.max(1, #marks - count + 1), #marks do
    insert(items, { meta.counter - #marks + index, marks[index] })
  end
  return items
end

-- Fences -------------------------------------------------------------------------------------------------------------

local function isAfter(incarnation, sequence, other)
  if incarnation ~= other[1] then return incarnation > other[1] end
  return sequence > other[2]
end

-- As `must` for the first command of the round that takes memory. A server that knows no flag of scripts refuses it if
-- it is full, unless the script has written before: then it lets the script go on to its end.
local function mustGrow(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if denialOf(reply.err) ~= 'OOM' then error(reply.err, 0) end
  memory.isFull = true
  must('UNLINK', NOWHERE)
  return must(...)
end

-- Raises what only rises and appends the mark, in one command. Nothing of the round was done before it. True if it has
-- left a mark.
local function raiseMeta(meta, round, isNew)
  local epoch, incarnation = math.max(meta.epoch, round.epoch), math.max(meta.incarnation, round.incarnation)
  local floorMoves = isAfter(round.floor[1], round.floor[2], meta.floor)
  -- A raised fence is something to lose as well: what it keeps away could come again.
  local isRaised = epoch > meta.epoch or incarnation > meta.incarnation
  local leavesMark = isRaised or #round.decisions > 0 or #round.prepares > 0 or round.copy
  if not leavesMark and not floorMoves and not isNew then return false end
  meta.epoch, meta.incarnation = epoch, incarnation
  if floorMoves then meta.floor = round.floor end
  if leavesMark then appendMark(meta, round.mark, round.bounds[1]) end
  mustGrow('HSET', META, 'generation', whole(meta.generation), 'epoch', whole(epoch), 'incarnation', whole(incarnation),
    'floor', idOf(meta.floor[1], meta.floor[2]), 'counter', whole(meta.counter), 'history', meta.history,
    'phase', meta.phase, 'copyNumber', whole(meta.copyNumber), 'format', whole(FORMAT))
  if floorMoves then
    must('ZREMRANGEBYSCORE', DONE, '-inf', scoreOf(meta.floor[1], meta.floor[2]))
  end
  return leavesMark
end

-- Everything that the round knows of its keys and transactions: one HMGET, and one ZMSCORE for those without a lock.
local function readKnown(round, floor)
  local keys, asked, done = #round.prepares > 0 and { EVERY } or {}, {}, {}
  for _, decision in ipairs(round.decisions) do
    for _, key in ipairs(decision[4]) do insert(keys, key) end
  end
  for _, prepare in ipairs(round.prepares) do
    for _, key in ipairs(prepare[4]) do insert(keys, key) end
  end
  local locks = readLocks(keys)
  local function ask(item)
    local id = idOf(item[1], item[2])
    if isAfter(item[1], item[2], floor) and countHeld(locks, item[4], id) == 0 then insert(asked, id) end
  end
  for _, decision in ipairs(round.decisions) do ask(decision) end
  for _, prepare in ipairs(round.prepares) do ask(prepare) end
  for first = 1, #asked, CHUNK do
    local last = math.min(first + CHUNK - 1, #asked)
    for index, score in ipairs(must('ZMSCORE', DONE, unpack(asked, first, last))) do
      if score then done[asked[first + index - 1]] = true end
    end
  end
  return locks, done
end

-- Decisions ----------------------------------------------------------------------------------------------------------

-- Judges one decision. Returns its reply, or a plan; `settled` takes the aborts of what never came.
local function judge(decision, incarnation, floor, locks, done, settled)
  local id, keys = idOf(decision[1], decision[2]), decision[4]
  if decision[1] > incarnation then return 'r' end
  if not isAfter(decision[1], decision[2], floor) then return 'a' end
  local held = countHeld(locks, keys, id)
  if held == #keys and held > 0 then return nil, planOf(id, decision[3] == 1, keys, locks) end
  if held > 0 then return 'l' end
  if done[id] then return 'a' end
  if decision[3] == 1 then return 'l' end
  insert(settled, scoreOf(decision[1], decision[2]))
  insert(settled, id)
  done[id] = true
  return 'a'
end

local function decide(round, floor, locks, done)
  local replies, plans, planned, unmet, settled = {}, {}, {}, {}, {}
  for index, decision in ipairs(round.decisions) do
    local id = idOf(decision[1], decision[2])
    local count = #settled
    if planned[id] then
      replies[index] = planned[id]
    else
      local reply, plan = judge(decision, round.incarnation, floor, locks, done, settled)
      replies[index] = reply or plan
      if plan then
        insert(plans, plan)
        planned[id] = plan
      end
    end
    if #settled > count then insert(unmet, index) end
  end
  if not applyPlans(plans, settled, locks) then
    for _, index in ipairs(unmet) do replies[index] = 'r' end
  end
  for index, reply in ipairs(replies) do
    if type(reply) == 'table' then
      replies[index] = reply.failure or 'a'
      if not reply.failure then done[reply.id] = true end
    end
  end
  return concat(replies)
end

-- Prepares -----------------------------------------------------------------------------------------------------------

-- The name that the rest needs.
local prepareAll
do
local function lockedVote(key, record)
  local incarnation, sequence = orderOf(holderOf(record))
  return { 'l', key, incarnation, sequence }
end

-- The vote against what is about all keys: any lock is in its way, those of this round and those that it does not know.
local function objectionToAll(locks)
  for key, record in pairs(locks) do return lockedVote(key, record) end
  if must('HLEN', LOCK) == 0 then return nil end
  local cursor, flat = '0', nil
  repeat
    -- One step of a scan may find nothing although there is something.
    cursor, flat = unpack(must('HSCAN', LOCK, cursor, 'COUNT', '10'))
  until #flat > 0 or cursor == '0'
  return lockedVote(flat[1], flat[2])
end

-- The vote against, or nil if the transaction may be staged.
local function objection(prepare, round, meta, locks, done)
  local id, keys = idOf(prepare[1], prepare[2]), prepare[4]
  if round.epoch < meta.epoch then return { 'f', 'epoch' } end
  if prepare[1] < meta.incarnation then return { 'f', 'incarnation' } end
  if not isAfter(prepare[1], prepare[2], meta.floor) then return { 't' } end
  if countHeld(locks, keys, id) > 0 then return { 'd' } end
  if done[id] then return { 't' } end
  if locks[EVERY] then return lockedVote(EVERY, locks[EVERY]) end
  for _, key in ipairs(keys) do
    if key == EVERY then return objectionToAll(locks) end
    if locks[key] then return lockedVote(key, locks[key]) end
  end
  return nil
end

local function refusedVote(reason, isEndless) return { 'r', reason, isEndless and 1 or nil } end

-- The vote of a transaction whose locks could not be taken.
local function unlockedVote(failure)
  return denialOf(failure) and deniedVote(failure, -1) or refusedVote(failure)
end

-- Takes the locks of everything staged, by one command. Where the server refuses, every vote is taken back.
local function takeLocks(staged, votes)
  local records = {}
  for _, item in pairs(staged) do
    for _, field in ipairs(item.records) do insert(records, field) end
  end
  local _, failure = overMany('HSET', LOCK, records)
  if not failure then return end
  for index, item in pairs(staged) do
    overMany('UNLINK', nil, item.made)
    local keys = {}
    for position = 1, #item.records, 2 do insert(keys, item.records[position]) end
    overMany('HDEL', LOCK, keys)
    votes[index] = unlockedVote(failure)
  end
end

function prepareAll(round, meta, locks, done)
  local votes, staged = {}, {}
  for index, prepare in ipairs(round.prepares) do
    votes[index] = objection(prepare, round, meta, locks, done)
    if not votes[index] and pace.isLate() then votes[index] = refusedVote('had no time left for it in its round') end
    if not votes[index] and answered > round.bounds[11] then
      votes[index] = refusedVote('had no room left for it in the answer to its round')
    end
    if not votes[index] then
      local id = idOf(prepare[1], prepare[2])
      local item, reason, isEndless = stage(id, prepare[3], prepare[4], prepare[5], round.bounds)
      if item then
        staged[index] = item
        for position = 1, #item.records, 2 do locks[item.records[position]] = item.records[position + 1] end
      end
      votes[index] = item and item.vote or refusedVote(reason, isEndless)
    end
  end
  takeLocks(staged, votes)
  local letters = {}
  for index, vote in ipairs(votes) do letters[index] = vote[1] end
  return votes, concat(letters)
end
end

-- Older incarnations -------------------------------------------------------------------------------------------------

-- The locks of older incarnations by transaction, oldest first, and whether some were left out.
local function olderLocks(incarnation, bound)
  local flat, byId, ids = must('HGETALL', LOCK), {}, {}
  for index = 1, #flat, 2 do
    local id = holderOf(flat[index + 1])
    if orderOf(id) < incarnation then
      if not byId[id] then
        byId[id] = {}
        insert(ids, id)
      end
      insert(byId[id], flat[index])
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
    if index > 1 and count + #byId[id] > bound then return items, 1 end
    local incarnation, sequence = orderOf(id)
    insert(items, { incarnation, sequence, sortByBytes(byId[id]) })
    count = count + #byId[id]
  end
  return items, 0
end

-- The round ----------------------------------------------------------------------------------------------------------

local function readRound()
  local given = decodeGiven(ARGV[1])
  return {
    generation = given[1], epoch = given[2], incarnation = given[3], begin = given[4] == 1, askOlder = given[5] == 1,
    floor = given[6], seen = given[7], mark = given[8], decisions = given[9], prepares = given[10], bounds = given[11],
    isVoter = given[12] == 0, lease = given[13] ~= 0 and given[13], takes = given[14],
    copy = given[15] ~= 0 and given[15],
  }
end

local function newMeta(generation)
  return {
    generation = generation, epoch = 0, incarnation = 0, floor = { 0, 0 }, counter = 0, history = '', phase = '',
    copyNumber = 0, format = FORMAT,
  }
end

-- The state that the round is judged by: the region's, or a new one if the round's generation is taken.
local function metaFor(held, round)
  local begins = round.copy and round.copy[1] == 'b'
  if not held then
    -- Keys without a state are somebody else's: nothing is begun over more of them than an operator has agreed to.
    local mayBegin = (begins or (round.begin and round.isVoter)) and countKeys() <= round.takes
    return mayBegin and newMeta(round.generation) or nil
  end
  if not begins or held.generation == round.generation then return held end
  for _, generation in ipairs(round.copy[4]) do
    if generation == held.generation then return newMeta(round.generation) end
  end
  -- The state of another Lockstep may be replaced, with no more keys than an operator has agreed to lose.
  if round.copy[5] == held.generation and countKeys() <= round.takes then return newMeta(round.generation) end
  return held
end

local function isInPhase(meta, round) return round.isVoter and meta.phase ~= '' and round.epoch <= meta.epoch end

-- Decides, prepares and copies. Returns the replies.
local function carryOut(meta, round, copyRefusal)
  local locks, done = readKnown(round, meta.floor)
  local decisions = decide(round, meta.floor, locks, done)
  local votes, letters = prepareAll(round, meta, locks, done)
  local copy = round.copy and (copyRefusal or performCopy(meta, round)) or nil
  return decisions, votes, letters, copy
end

return answer(#ARGV[1], function()
  local round = readRound()
  local held = readMeta()
  if laterFormat(held) then return laterFormat(held) end
  local meta = metaFor(held, round)
  if not meta or meta.generation ~= round.generation then return refusedFor(held) end
  local refusal = lossOf(meta, round.seen) or (isInPhase(meta, round) and 'phase')
  if refusal then return { 'f', refusal } end

  if round.isVoter then meta.phase, meta.copyNumber = '', 0 end
  local copyRefusal = round.copy and enterCopy(meta, round)
  if held and held ~= meta then dropShard() end
  local leavesMark = raiseMeta(meta, round, meta ~= held)
  local ok, decisions, votes, letters, copy = pcall(carryOut, meta, round, copyRefusal)
  local outcome = not ok and '.x' or outcomeOf(decisions, letters, copy)
  if leavesMark and outcome ~= '' then noteOutcome(meta, round, outcome) end
  if not ok then error(decisions, 0) end
  grantLease(meta, round)
  -- Nobody waits for a region without a vote, and its coordinator asks when it can be copied.
  if not round.isVoter and memory.isFull == nil then memory.isFull = memory.look() end
  local older, isTruncated = {}, 0
  if round.askOlder then older, isTruncated = olderLocks(round.incarnation, round.bounds[3]) end
  local isFull = memory.isFull ~= nil and (memory.isFull and 1 or 0)
  return { 'd', decisions, votes, lastMarks(meta, round.bounds[2]), older, isTruncated, round.lease and clock(),
    copy or false, isFull }
end)
