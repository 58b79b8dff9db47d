-- Takes one snapshot over the keys of several shards, as one atomic step.
--
-- Guarantees: those of snapshot.lua for each shard; all values belong to one moment. Nothing is read, and nothing
-- applied, unless the states of all shards allow it.
--
-- ARGV[1]: a JSON text, written by joint-encoding.ts:
--   [[[shard, generation, lastAcknowledged, decisions, keys, ranges]…], isStrong, isLeased, commands, bound, inScript,
--   lcsSteps, longest]
--   ranges     the slots that the shard owns, as in a lock record (slots.lua), or ''
--   The rest is as in snapshot.lua.
--
-- Replies, read by joint-decoding.ts:
--   {'q', replies, shape, {{index, key, incarnation, sequence}…}, {key…}}   read, with the locks, each with the index
--       of its shard from 0, and the touched keys in slots of none of the shards
--   {'g'}                                                                    as in snapshot.lua
--   {'f', index, 'generation', has, keys}, {'f', index, 'lost'|'history'|'lease'}   refused whole, by that shard
--   {'f', 'format', has}, {'x', text}                                        as in snapshot.lua

-- The shards of the request by names.
local function readAsked(given)
  local asked = {}
  for index, form in ipairs(given[1]) do
    local shard, generation, lastAcknowledged, decisions, keys, ranges = unpack(form)
    asked[index] = { shard = shard, generation = generation, lastAcknowledged = lastAcknowledged, decisions = decisions,
      keys = keys, ranges = ranges }
  end
  return asked
end

-- Why the shard's state refuses the snapshot, or nil.
local function refusalBy(each, isStrong, isLeased)
  enterShard(each.shard)
  local found, lease = findRegion(each.shard)
  if not found or found.generation ~= each.generation then return refusedFor(found or nil) end
  local loss = lossOf(found, each.lastAcknowledged)
  if loss then return { 'f', loss } end
  if isStrong and not mayReadStrongly(found, isLeased, lease) then return { 'f', 'lease' } end
  each.region = found
  return nil
end

-- The ranges of all shards.
local function rangesOf(asked)
  local texts = {}
  for index, each in ipairs(asked) do texts[index] = each.ranges end
  return slotsModule().rangesIn(concat(texts, ','))
end

-- The touched keys in slots of no shard that the request names.
local function unnamedOf(asked, readsAll)
  local unnamed = {}
  if next(touched.keys) == nil and not readsAll then return unnamed end
  local ranges, named = rangesOf(asked), {}
  for _, each in ipairs(asked) do
    for _, key in ipairs(each.keys) do named[key] = true end
  end
  if readsAll and not slotsModule().coverAll(ranges) then insert(unnamed, EVERY) end
  for key in pairs(touched.keys) do
    if not named[key] and not slotsModule().isWithin(ranges, key) then insert(unnamed, key) end
  end
  table.sort(unnamed)
  return unnamed
end

-- The locks of a shard's keys and of those that scripts have touched; all if a command was about all keys.
local function locksIn(each, isAboutAll)
  if isAboutAll then return everyLock(each.region) end
  local list, own = {}, {}
  for _, key in ipairs(each.keys) do
    insert(list, key)
    own[key] = true
  end
  -- A key is locked by its own shard alone.
  for key in pairs(touched.keys) do
    if not own[key] then insert(list, key) end
  end
  return locksMet(each.region, list)
end

return answer(#ARGV[1], function()
  forgetShards()
  local given = decodeGiven(ARGV[1])
  local asked, isStrong, isLeased = readAsked(given), given[2] == 1, given[3] == 1
  local shards, settlesNothing = {}, true
  for index, each in ipairs(asked) do
    shards[index], settlesNothing = each.shard, settlesNothing and #each.decisions == 0
  end
  loadShards(shards, isLeased)
  for index, each in ipairs(asked) do
    local found = findRegion(each.shard)
    if found and found.laterFormat then return laterFormat(found) end
    local refusal = refusalBy(each, isStrong, isLeased)
    if refusal then return { 'f', index - 1, unpack(refusal, 2) } end
  end
  for _, each in ipairs(asked) do
    enterShard(each.shard)
    settle(each.region, each.decisions)
  end
  local sizes, sum = measure(given[4])
  if sum and sum > given[6] and sum <= given[5] then return { 'g' } end
  lcsSteps = given[7]
  keyspaceCommands.DBSIZE = function()
    local names = {}
    for _, each in ipairs(asked) do
      enterShard(each.shard)
      for _, name in ipairs(ownNames(each.region)) do insert(names, name) end
    end
    return must('DBSIZE') - overMany('EXISTS', nil, names)
  end
  local replies, met, unnamed = readAll(given[4], sizes, given[5], given[8]), {}, {}
  if isStrong then
    local readsAll = touched.all or hasKeyspaceCommand(given[4])
    unnamed = unnamedOf(asked, readsAll)
    for index, each in ipairs(asked) do
      enterShard(each.shard)
      for _, lock in ipairs(locksIn(each, readsAll and settlesNothing)) do
        insert(met, { index - 1, unpack(lock) })
      end
    end
  end
  return { 'q', replies, concat(shape, ' '), met, unnamed }
end)
