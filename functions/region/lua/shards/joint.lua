-- Runs one joint round, as one atomic step: rounds of several shards, and the prepare of one transaction that is theirs
-- together.
--
-- Guarantees: each round is judged by its own shard's state, and its decisions are applied and its nonce is noted even
-- if the transaction is not staged. That is staged only if no shard objects, with the locks and shadows of each share
-- under its shard's own order. Unless the vote is yes, a digest behind each nonce says so: it depends on the other
-- shards too, so the nonce alone would not show it. All states are written by one command.
--
-- ARGV[1]: a JSON text, written by joint-encoding.ts:
--   [[round…], now, [share…], parts, grows]
--   round   in the form of round.lua, without prepares and without a step of a copy
--   share   [shard, incarnation, sequence, keys, ranges] for each round, in order; ranges is the text of a lock record
--           (slots.lua) if the shard's own slots matter, else ''
--   parts   those of the prepare, in the form of round.lua
--   grows   1 if the prepare may take memory that Redis itself would refuse when it is full
--
-- Replies, read by joint-decoding.ts:
--   {'j', {reply…}, vote}
--       a reply per round, in order: {'d', …} or {'f', …} as in round.lua, the former without votes
--       the vote is one of round.lua, its fingerprints those of the keys of all shares in order, or {'o', index, …}:
--       the round of that index (from 0) objects: …, 'round' it is refused, 'decision' a decision was not acknowledged,
--       or the members of a vote {'t'}, {'d'}, {'l', …}, {'f', …} of round.lua
--   {'f', 'format', has}, {'m'}, {'x', text}          as in round.lua; nothing was executed, or all may have

local judgeOne = judge
-- As in judging.lua, unless an earlier round of the script has brought the decision with it.
function judge(region, decision, incarnation, locks)
  local reply = decision[1] <= incarnation and replyDecided(decision[1], decision[2])
  if reply then return reply end
  return judgeOne(region, decision, incarnation, locks)
end

-- The rounds by names, each with its share as its prepare.
local function readRounds(given)
  local rounds, asksLease = {}, false
  for index, form in ipairs(given[1]) do
    local round, share = roundFrom(form), given[3][index]
    round.shard, round.grows = share[1], given[5] == 1
    round.prepares = { { share[2], share[3], given[2], share[4], given[4] } }
    rounds[index], asksLease = round, asksLease or round.lease ~= false
  end
  return rounds, asksLease
end

-- Judges one round, and applies its decisions. Adds `region`, `locks` and `said`, a letter per decision, or `refusal`.
local function begin(round)
  enterShard(round.shard)
  local region, refusal = enterRound(findRegion(round.shard) or nil, round)
  if not region then
    round.refusal = refusal
    return
  end
  noteRegion(round.shard, region)
  raiseRegion(region, round)
  round.region, round.locks = region, readKnown(region, round)
  round.said = decide(region, round, round.locks)
end

-- The vote of the first round that objects, or nil.
local function objectionOf(rounds)
  for index, round in ipairs(rounds) do
    if round.refusal then return { 'o', index - 1, 'round' } end
    if not match(round.said, '^a*$') then return { 'o', index - 1, 'decision' } end
    enterShard(round.shard)
    local vote = objection(round.prepares[1], round, round.region, round.locks)
    if vote then return { 'o', index - 1, unpack(vote) } end
  end
  return nil
end

local shadowAlone, prefixesAlone = shadowName, shadowPrefixes

-- Names the shadows of each share after its own shard and order.
local function nameShadows(rounds)
  local prefixes, byKey = {}, {}
  for index, round in ipairs(rounds) do
    enterShard(round.shard)
    local prepare = round.prepares[1]
    prefixes[index] = shadowAlone(idOf(prepare[1], prepare[2]), '')
    for _, key in ipairs(prepare[4]) do byKey[key] = byKey[key] or prefixes[index] end
  end
  function shadowName(id, key) return byKey[key] and byKey[key] .. key or shadowAlone(id, key) end
  function shadowPrefixes() return prefixes end
end

-- Adds the locks of each share to its shard, with the records of the staged keys: each begins with the id of home.
local function addShares(rounds, shares, records)
  local byKey = {}
  for index = 1, #records, 2 do
    local record = records[index + 1]
    byKey[records[index]] = sub(record, (string.find(record, '|', 1, true)))
  end
  for index, round in ipairs(rounds) do
    local id, own = idOf(shares[index][2], shares[index][3]), {}
    for _, key in ipairs(shares[index][4]) do
      local intent = byKey[key]
      if intent == '|f' then intent = '|r|' .. shares[index][5] end
      insert(own, key)
      insert(own, id .. intent)
    end
    addLocks(round.region, own)
  end
end

-- The fingerprints of the keys of all shares, and any digest behind those of the staged keys.
local function fingerprintsOf(shares, keys, found)
  local byKey, prints = {}, {}
  for index, key in ipairs(keys) do byKey[key] = found[index] end
  for _, share in ipairs(shares) do
    for _, key in ipairs(share[4]) do insert(prints, byKey[key]) end
  end
  for index = #keys + 1, #found do insert(prints, found[index]) end
  return prints
end

-- Stages the transaction for all shares. Returns its vote.
local function stageJoint(rounds, given)
  local home, keys, seen = rounds[1], {}, {}
  for _, share in ipairs(given[3]) do
    for _, key in ipairs(share[4]) do
      if not seen[key] then insert(keys, key) end
      seen[key] = true
    end
  end
  nameShadows(rounds)
  enterShard(home.shard)
  local prepare = { given[3][1][2], given[3][1][3], given[2], keys, given[4] }
  local vote, records = stageOne({ prepares = { prepare }, bounds = home.bounds, grows = home.grows }, prepare)
  shadowName, shadowPrefixes = shadowAlone, prefixesAlone
  if vote[1] ~= 'y' then return vote end
  addShares(rounds, given[3], records)
  vote[4] = fingerprintsOf(given[3], keys, vote[4])
  return vote
end

-- Ends the rounds that were not refused: notes their nonces, writes all states, and grants leases. Returns a reply
-- each.
local function finish(rounds, letter)
  local shards = changedShards()
  for _, round in ipairs(rounds) do
    if not round.refusal then
      appendPair(round.region, round.nonce .. outcomeOf(round.said, letter, nil), round.bounds[1])
      enterShard(round.shard)
      round.older = olderLocks(round.region, round)
      shards[round.shard] = true
    end
  end
  local changed = {}
  for shard in pairs(shards) do insert(changed, shard) end
  table.sort(changed)
  if #changed > 0 then writeShards(changed) end
  local replies = {}
  for index, round in ipairs(rounds) do
    enterShard(round.shard)
    replies[index] = round.refusal
    if not round.refusal then
      if round.region.applied then deciding().finish(round.region) end
      local _, lease = findRegion(round.shard)
      grantLease(round.region, round, lease)
      replies[index] = replyTo(round.region, round, round.said, {}, nil, round.older)
    end
  end
  return replies
end

return answer(#ARGV[1], function()
  forgetShards()
  shadowName, shadowPrefixes = shadowAlone, prefixesAlone
  local given = decodeGiven(ARGV[1])
  local rounds, asksLease = readRounds(given)
  local shards = {}
  for index, round in ipairs(rounds) do shards[index] = round.shard end
  loadShards(shards, asksLease)
  for _, shard in ipairs(shards) do
    local region = findRegion(shard)
    if region and region.laterFormat then return laterFormat(region) end
  end
  for _, round in ipairs(rounds) do begin(round) end
  local vote = objectionOf(rounds) or stageJoint(rounds, given)
  return { 'j', finish(rounds, vote[1]), vote }
end)
