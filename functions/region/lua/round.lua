-- Runs one round, as one atomic step: every decision that this region has not acknowledged, then prepares, then a step
-- of a copy. judging.lua has the steps.
--
-- Guarantees: fences, no late and no second prepare, whole and idempotent decisions, no heuristics, the loss check.
-- Each command that can fail is called protected, and the order of writes is such that a round that stops half-way can
-- be repeated.
--
-- ARGV[1]: a JSON text, written by encoding.ts:
--   [generation, epoch, incarnation, begin, askOlder, lowWatermark, lastAcknowledged, nonce, decisions, prepares,
--   bounds, role, lease, takes, grows, copy]
--   lowWatermark       [incarnation, sequence]
--   lastAcknowledged   [counter, nonce], or 0
--   decision   [incarnation, sequence, isCommit, keys]; the same and [[shard, incarnation, sequence, keys]…], the
--              shares of other shards, for a commit of a joint transaction (shares.lua)
--   prepare    [incarnation, sequence, now, keys, parts]; a part is [checks, operations], or
--              [checks, operations, 1] if it continues after an operation that fails
--   check      [kind, key, …]: 0 absent, 1 exists, 2 equals (value), 3 type (type), 4 field (field, value)
--   operation  [kind, args, writes, reads, order] for 0 write, 1 read, 3 delete, 6 append, 9 bits, 11 publish, 12
--              flush, 13 fail, 14 trim, 15 distances; positions count from 0
--              the same and letters for a 0 write or 1 read that addresses elements (addressing.ts)
--              the same and the allowance for clocks in ms for 7 deliver, 8 claim
--              the same and a seed for 10 script
--              [2, key, value, pxat] for set; [4, key, count, seed] for pop; [5, name, key] for ttl: TTL, PTTL,
--              EXPIRETIME or PEXPIRETIME
--   order      0 none, 1 members, 2 pairs, 3 exact, 4 exact-field
--   bounds     [pairs kept, pairs answered, locks of older incarnations listed, bytes of a transaction's outcomes,
--              bytes of values that a step of a copy reads, elements of a collection that is staged as a copy,
--              ms after which no further transaction is staged once slow work has begun, ms by which shadows expire
--              later than their keys, ms after which nobody waits for a vote, steps of LCS per transaction, bytes of
--              outcomes after which no further transaction is staged]
--   role       0 voter, 1 copying, 2 out
--   lease      [reading or -1, ttl], or 0
--   takes      the round takes a database without state only if it holds no more keys than this
--   grows      1 if a prepare may take memory that Redis itself would refuse when it is full (growing.ts)
--   copy       ['b', token, number, [generation…], generation or 0] begin, ['s', cursor, count, form] scan,
--              ['r', [key, from, …], form] read, ['w', token, number, items] write, ['l', cursor, count] list, or 0;
--              form 0 dump, 1 logical, 2 absent
--              its keys and the strings of items have one character per byte (copy-source.lua, copy-target.lua)
--   Booleans are 0 and 1.
--
-- Replies, read by decoding.ts; a nil is one of Redis:
--   {'d', 'alr…', {vote…}, ',counter:nonce,…', {{incarnation, sequence, keys}…}, 0|1, clock|nil, copy|nil,
--    0|1|nil}                                                                                            executed
--       the replies to the decisions: a acknowledged, l lost, r refused, u of a form that this release does not know
--       then the votes, the last pairs, the locks of older incarnations, 1 if these are not all, the clock in ms, the
--       copy step, and whether the server is out of memory, nil if the round does not show it
--       votes: {'y', outcomes, shape, fingerprints}, {'t'} late, {'d'} duplicate, {'l', key, incarnation, sequence}
--       locked, {'f', 'epoch'|'incarnation'} fenced, {'r', reason} refused, {'r', reason, 1} refused as it takes
--       longer than a vote may, {'c', parts} refused as the replies of only this number of its first parts fit,
--       {'u', {{part, keys}…}} unlisted, {'n', part, command} lacking, {'e', code, reason, part} denied by the server,
--       of a part or -1. An outcome has the form of PartOutcomeTag, and a shape that of reply-shape.ts.
--       copy is one ASCII JSON text: ["b"] begun, ["r",items,locked,left,cursor|null,total|null] read,
--       ["w",[[key,reason]…]] written, ["l",keys,cursor|null] listed, ["f","token"|"number"|"epoch"] refused
--   {'f', 'generation', has, keys}, {'f', 'lost'}, {'f', 'history'}, {'f', 'phase'}   refused whole
--   {'f', 'format', has}                              refused whole: of a later release
--   {'m'}                                             not executed: it needs a longer text (lua-bundle.ts)
--   {'x', text}                                                       failed; may have run in part

return answer(#ARGV[1], function()
  local round = readRound()
  local stored, lease = readRegion(round.lease)
  if laterFormat(stored) then return laterFormat(stored) end
  local region, endsPhase, copyRefusal = enterRound(stored, round)
  if not region then return endsPhase end
  local leavesPair, isChanged = raiseRegion(region, round)
  local locks = readKnown(region, round)
  local decisions = decide(region, round, locks)
  local votes, letters = prepareAll(region, round, locks)
  local copy = round.copy and (copyRefusal or performCopy(region, round)) or nil
  if leavesPair then appendPair(region, round.nonce .. outcomeOf(decisions, letters, copy), round.bounds[1]) end
  local older = olderLocks(region, round)
  if leavesPair or isChanged or endsPhase or region ~= stored then
    writeRegion(region)
    if region.applied then deciding().finish(region) end
  end
  grantLease(region, round, region.hasNoLease and 0 or lease)
  return replyTo(region, round, decisions, votes, copy, older)
end)
