-- Applies the commits of joint transactions: with the share of one shard, those of other shards whose locks are all
-- here. It keeps the states of several shards in one script, for joint rounds and for snapshots over shards too.
--
-- Guarantees: a plan has all shares that are whole here, so they are applied together, or none of them; every expiry is
-- compared with one reading of the clock. A share is applied only above its shard's low watermark and unless it is
-- settled there; then it is settled. All states are written by one command, so a script that stops before it leaves all
-- of them as they were.
--
-- A share is [shard, incarnation, sequence, keys].

-- The only names of this block that the rest needs.
local enterShard, loadShards, forgetShards, writeShards, slotsModule, findRegion, noteRegion, replyDecided
local changedShards
do

-- The states of the shards by number, false for a shard without one that this release can read; the expiries of their
-- leases in ms; and the plans of the script, by shard and id, that have shares of several shards.
local regions, leases, plans = {}, {}, {}

-- The shard of KEYS, and the one whose records the other texts read and write.
local first = tonumber(match(STATE, '^lockstep:(%d+):state$'))
local current = first

local function prefixOf(shard) return RESERVED .. whole(shard) .. ':' end

-- From here on, all names of records are those of this shard. Returns the number of the one before.
function enterShard(shard)
  local before = current
  if shard == current then return before end
  current, PREFIX = shard, prefixOf(shard)
  STATE, LOCK, LEASE = PREFIX .. 'state', PREFIX .. 'lock', PREFIX .. 'lease'
  OLD_STATE, OLD_SETTLED = PREFIX .. 'meta', PREFIX .. 'done'
  return before
end

-- Forgets the states, for a script that may have begun before.
function forgetShards()
  regions, leases, plans = {}, {}, {}
  enterShard(first)
end

function findRegion(shard) return regions[shard], leases[shard] end

function noteRegion(shard, region) regions[shard] = region end

local readAlone = readRegion
-- As in region-store.lua, of the shard of KEYS.
function readRegion(withLease)
  forgetShards()
  return readAlone(withLease)
end

-- Reads the states of these shards that are not known, by one command, and with them the leases if `withLeases` is set.
function loadShards(shards, withLeases)
  local names, missing = {}, {}
  for _, shard in ipairs(shards) do
    if regions[shard] == nil then
      regions[shard] = false
      insert(missing, shard)
      insert(names, prefixOf(shard) .. 'state')
      if withLeases then insert(names, prefixOf(shard) .. 'lease') end
    end
  end
  if #missing == 0 then return end
  local found, width, before = must('MGET', unpack(names)), withLeases and 2 or 1, current
  for index, shard in ipairs(missing) do
    enterShard(shard)
    local text, lease = found[(index - 1) * width + 1], withLeases and found[index * 2]
    -- A lease of format 2 has the value 1.
    leases[shard] = lease == '1' and must('PEXPIRETIME', LEASE) or tonumber(lease or 0)
    -- MGET returns nil for a key of another type, as for a missing one.
    regions[shard] = text and parseRegion(text) or readAlone(false) or false
  end
  enterShard(before)
end

-- The leases of the plan's other shards.
local function leasesOf(plan)
  local names = {}
  for _, share in ipairs(plan.others or {}) do insert(names, prefixOf(share[1]) .. 'lease') end
  return names
end

local function isOwn(plan, name)
  if sub(name, 1, #PREFIX) == PREFIX then return true end
  for _, share in ipairs(plan.others or {}) do
    local prefix = prefixOf(share[1])
    if sub(name, 1, #prefix) == prefix then return true end
  end
  return false
end

local loadedSlots
-- The module of slots.lua, loaded when it is first needed.
function slotsModule()
  loadedSlots = loadedSlots or loadSlots(leasesOf, isOwn)
  return loadedSlots
end
local lazySlots = {
  rangesIn = function(text) return slotsModule().rangesIn(text) end,
  flush = function(plan, flush) return slotsModule().flush(plan, flush) end,
}

-- Adds the effects of `from` to the plan.
local function addPlan(plan, from)
  for _, list in ipairs({ 'unlinks', 'renames', 'sets', 'messages', 'merges', 'ranges' }) do
    if from[list] and not plan[list] then plan[list] = {} end
    for _, item in ipairs(from[list] or {}) do insert(plan[list], item) end
  end
  plan.isFlush = plan.isFlush or from.isFlush
  plan.failure = plan.failure or from.failure
end

local loadPlainDecisions = loadDecisions
local decisions

-- Adds the other shares to the plan of a commit, if their locks are all here.
local function join(plan, shares)
  local asked, before = {}, current
  for index, share in ipairs(shares) do asked[index] = share[1] end
  loadShards(asked, false)
  plan.others = {}
  for _, share in ipairs(shares) do
    local shard, incarnation, sequence, keys = unpack(share)
    local region, id = regions[shard], idOf(incarnation, sequence)
    local isOpen = region and not region.laterFormat and #keys > 0
      and isAfter(incarnation, sequence, region.lowWatermark) and not isSettled(region, incarnation, sequence)
    if isOpen then
      enterShard(shard)
      local locks = readLocks(region, keys)
      if countLocked(locks, keys, id) == #keys then
        addPlan(plan, decisions.planOf(id, true, keys, locks))
        insert(plan.others, share)
        plans[whole(shard) .. ':' .. id] = plan
      end
    end
  end
  enterShard(before)
end

-- Settles the other shares of the plans that have been applied.
local function settleOthers(applied)
  local before = current
  for _, plan in ipairs(applied or {}) do
    for _, share in ipairs(plan.others or {}) do
      local shard, incarnation, sequence, keys = unpack(share)
      enterShard(shard)
      addSettled(regions[shard], incarnation, sequence)
      dropLocks(regions[shard], keys)
      regions[shard].isSettledHere = true
    end
  end
  enterShard(before)
end

-- As in apply.lua, but for the shares of other shards.
function loadDecisions()
  decisions = decisions or loadPlainDecisions(lazySlots)
  return {
    planOf = function(id, isCommit, keys, locks, shares)
      local plan = decisions.planOf(id, isCommit, keys, locks)
      if shares and isCommit then join(plan, shares) end
      return plan
    end,
    apply = function(region, given, isLast)
      regions[current] = region
      decisions.apply(region, given, isLast)
      settleOthers(region.applied)
    end,
    finish = decisions.finish,
    showsFullness = decisions.showsFullness,
  }
end

-- Writes the states of these shards by one command, with the plain values of their decisions, and completes each.
function writeShards(shards)
  local before, values = current, {}
  for _, shard in ipairs(shards) do
    for _, value in ipairs(regions[shard].values or {}) do insert(values, value) end
  end
  for _, shard in ipairs(shards) do
    enterShard(shard)
    insert(values, STATE)
    insert(values, textToWrite(regions[shard]))
  end
  setTogether(values)
  for _, shard in ipairs(shards) do
    local region = regions[shard]
    enterShard(shard)
    completeRegion(region)
    -- A snapshot may write again.
    region.values, region.farAdded, region.farDropped, region.isSettledHere = nil, nil, nil, nil
  end
  enterShard(before)
end

-- The shards whose share has been applied with that of another shard, as a set.
function changedShards()
  local changed = {}
  for shard, region in pairs(regions) do
    if region and region.isSettledHere then changed[shard] = true end
  end
  return changed
end

local writeAlone = writeRegion

-- Writes the state of the current shard, and of those whose shares have been applied with its own.
function writeRegion(region)
  regions[current] = region
  local changed, shards = changedShards(), {}
  changed[current] = true
  for shard in pairs(changed) do insert(shards, shard) end
  if #shards == 1 then return writeAlone(region) end
  table.sort(shards)
  writeShards(shards)
end

-- The reply to the decision about a transaction that the script has decided with the share of another shard, else nil.
function replyDecided(incarnation, sequence)
  local plan = plans[whole(current) .. ':' .. idOf(incarnation, sequence)]
  return plan and (plan.failure or 'a')
end

end
