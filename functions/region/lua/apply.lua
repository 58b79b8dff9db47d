-- Locks, decisions and the shard's state, as the scripts of a region share them (behind base.lua).
--
-- A lock record is a packed string: `<incarnation>.<sequence>|<intent>`, the intent being one of
--   k                  keep: nothing to do
--   d                  delete the key
--   p|<expiry>         put: rename the shadow over the key; its expiry in ms, or -1. The shadow has it put off
--   s|<pxat>|<value>   set: the value itself, and its expiry in ms, or ''
--   f                  flush: delete every key that is not Lockstep's own
--   m|<messages>       publish: see messages.lua
--   e|…                merge elements into the key: see merge.lua

-- The form of what is kept here, in the field `format` of META; a state without one is of the form 1. This release
-- reads the forms up to its own, and nothing of a later one: what a later release has left must not be taken for a
-- loss, nor be settled in part.
local FORMAT = 2

-- What merges, once it is needed, and what loads it.
local mergers, loadMergers

-- Locks --------------------------------------------------------------------------------------------------------------

local function idOf(incarnation, sequence) return whole(incarnation) .. '.' .. whole(sequence) end

local function holderOf(record) return match(record, '^[^|]+') end

local function orderOf(id)
  local incarnation, sequence = match(id, '^(%d+)%.(%d+)$')
  return tonumber(incarnation), tonumber(sequence)
end

local function scoreOf(incarnation, sequence) return whole(incarnation * 4294967296 + sequence) end

local function shadowName(id, key) return PREFIX .. 'shadow:' .. id .. ':' .. key end

-- The lock records of `keys`, by key.
local function readLocks(keys)
  local locks = {}
  for first = 1, #keys, CHUNK do
    local last = math.min(first + CHUNK - 1, #keys)
    local found = must('HMGET', LOCK, unpack(keys, first, last))
    for index, record in ipairs(found) do
      if record then locks[keys[first + index - 1]] = record end
    end
  end
  return locks
end

-- How many of the keys are locked by the transaction.
local function countHeld(locks, keys, id)
  local held = 0
  for _, key in ipairs(keys) do
    if locks[key] and holderOf(locks[key]) == id then held = held + 1 end
  end
  return held
end

-- Decisions ----------------------------------------------------------------------------------------------------------

-- Every letter of an intent that this release knows. A plan with another one is not carried out, to commit or to abort.
local INTENTS = { k = true, d = true, p = true, s = true, f = true, m = true, e = true }

-- What a decision does to keys that are all locked by its transaction.
local function planOf(id, isCommit, keys, locks)
  local plan = { id = id, keys = keys, unlinks = {}, renames = {}, sets = {}, messages = {} }
  for _, key in ipairs(keys) do
    local kind, at = match(locks[key], '^[^|]+|(%a)|?()')
    if kind == 'p' then
      local shadow = shadowName(id, key)
      if isCommit then
        insert(plan.renames, { shadow, key, tonumber(sub(locks[key], at)) })
      else
        insert(plan.unlinks, shadow)
      end
    elseif kind == 'f' then
      plan.isFlush = isCommit
    elseif kind == 'e' then
      (mergers or loadMergers()).plan(plan, isCommit, key, sub(locks[key], at))
    elseif kind == 'd' and isCommit then
      insert(plan.unlinks, key)
    elseif kind == 's' and isCommit then
      local bar = string.find(locks[key], '|', at, true)
      insert(plan.sets, { key, sub(locks[key], bar + 1), sub(locks[key], at, bar - 1) })
    elseif kind == 'm' and isCommit then
      unpackMessages(locks[key], at, plan.messages)
    elseif not INTENTS[kind] then
      plan.failure = 'u'
    end
  end
  return plan
end

-- The name that other texts need; the others have a block of their own, as Lua takes 200 of one function.
local applyPlans
do
-- False if a shadow is missing before its expiry. One that has passed since leaves the key absent, as it should.
local function shadowsStand(plan)
  local standing = {}
  for _, rename in ipairs(plan.renames) do
    if must('EXISTS', rename[1]) == 1 then
      insert(standing, rename)
    elseif rename[3] == -1 or rename[3] > clock() then
      return false
    else
      insert(plan.unlinks, rename[2])
    end
  end
  plan.renames = standing
  return not plan.merges or mergers.stand(plan)
end

-- Marks the plans that lack a shadow as lost. One command if all is well.
local function checkShadows(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, rename in ipairs(plan.renames) do insert(names, rename[1]) end
    if plan.merges then mergers.name(plan, names) end
  end
  if #names == 0 or overMany('EXISTS', nil, names) == #names then return end
  for _, plan in ipairs(plans) do
    if not shadowsStand(plan) then plan.failure = 'l' end
  end
end

local function standing(plans)
  local left = {}
  for _, plan in ipairs(plans) do
    if not plan.failure then insert(left, plan) end
  end
  return left
end

local function failAll(plans)
  for _, plan in ipairs(plans) do plan.failure = plan.failure or 'r' end
end

-- A SET may be refused if memory is short. It comes first, and can run again.
local function runSets(plan)
  for _, item in ipairs(plan.sets) do
    local reply
    if item[3] == '' then
      reply = redis.pcall('SET', item[1], item[2])
    else
      reply = redis.pcall('SET', item[1], item[2], 'PXAT', item[3])
    end
    if reply.err then
      plan.failure = 'r'
      return
    end
  end
end

local runFlush
do
  -- Deletes what one scan finds. Returns how many keys that were, or nil and the error.
  local function flushOnce()
    local cursor, count = '0', 0
    repeat
      local reply, names = must('SCAN', cursor, 'COUNT', '1000'), {}
      cursor = reply[1]
      for _, name in ipairs(reply[2]) do
        if isVisible(name) then insert(names, name) end
      end
      local removed, failure = overMany('UNLINK', nil, names)
      if not removed then return nil, failure end
      count = count + removed
    until cursor == '0'
    return count
  end

  -- A server whose cursors count keys skips some while others go, so it ends with a scan that finds none.
  function runFlush(plan)
    repeat
      local count = flushOnce()
      if not count then plan.failure = 'r' end
    until not count or count == 0
  end
end

-- Puts the shadow in the place of its key. It gets its real expiry before that, so that a plan which is stopped here
-- can be applied again; an expiry that has passed deletes it, and then there is nothing to rename, and the key goes.
-- RENAME replaces a key by itself: to delete it first would notify subscribers of a deletion (rule R15). It frees a
-- large value in line, as SET does, in less time than staging took to copy that value.
local function putShadow(rename)
  local shadow, key, expiry = rename[1], rename[2], rename[3]
  if expiry ~= -1 and type(redis.pcall('PEXPIREAT', shadow, whole(expiry))) == 'table' then return false end
  if not redis.pcall('RENAME', shadow, key).err then return true end
  if expiry == -1 or must('EXISTS', shadow) == 1 then return false end
  return type(redis.pcall('UNLINK', key)) == 'number'
end

local function runRenames(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, name in ipairs(plan.unlinks) do insert(names, name) end
  end
  if not overMany('UNLINK', nil, names) then return failAll(plans) end
  for _, plan in ipairs(plans) do
    for _, rename in ipairs(plan.renames) do
      if not putShadow(rename) then plan.failure = 'r' end
    end
  end
end

-- Applies plans whole. A plan that could not be applied has `failure` set ('l' lost, 'r' refused) and keeps its locks.
-- `settled` is a flat list of (score, id) that goes into `done` with them; it goes first, because a transaction that
-- is in `done` and still holds locks is applied again, while one that is in neither counts as lost.
-- Returns false if `done` could not be written; then nothing was changed.
function applyPlans(plans, settled, locks)
  checkShadows(plans)
  plans = standing(plans)
  for _, plan in ipairs(plans) do
    insert(settled, scoreOf(orderOf(plan.id)))
    insert(settled, plan.id)
  end
  if #settled > 0 and not overMany('ZADD', DONE, settled) then
    failAll(plans)
    return false
  end
  -- What flushes is alone, and the rest of it comes after that.
  for _, plan in ipairs(plans) do
    if plan.isFlush then runFlush(plan) end
  end
  for _, plan in ipairs(standing(plans)) do runSets(plan) end
  if mergers then mergers.run(standing(plans)) end
  runRenames(standing(plans))
  local dropped, applied = {}, standing(plans)
  for _, plan in ipairs(applied) do
    for _, key in ipairs(plan.keys) do
      insert(dropped, key)
      locks[key] = nil
    end
  end
  local _, failure = overMany('HDEL', LOCK, dropped)
  if failure then error(failure, 0) end
  if mergers then mergers.drop(applied) end
  publishAll(applied)
  return true
end
end

-- Meta ---------------------------------------------------------------------------------------------------------------

-- The shard's state here, or nil if it has none.
local function readMeta()
  local found = must('HMGET', META, 'generation', 'epoch', 'incarnation', 'floor', 'counter', 'history',
    'phase', 'copyNumber', 'format')
  if not found[1] then return nil end
  local floorIncarnation, floorSequence = orderOf(found[4])
  return {
    generation = tonumber(found[1]),
    epoch = tonumber(found[2]),
    incarnation = tonumber(found[3]),
    floor = { floorIncarnation, floorSequence },
    counter = tonumber(found[5]),
    history = found[6],
    phase = found[7] or '',
    copyNumber = tonumber(found[8] or 0),
    format = tonumber(found[9] or 1),
  }
end

-- The marks of the last rounds, oldest first, each followed by a comma. The newest has the number of `counter`.
local function marksOf(meta)
  local marks = {}
  for mark in string.gmatch(meta.history, '[^,]+') do insert(marks, mark) end
  return marks
end

-- Nil if the region has the pair, else the refusal.
local function lossOf(meta, seen)
  if seen == 0 then return nil end
  if seen[1] > meta.counter then return 'lost' end
  local marks = marksOf(meta)
  local index = seen[1] - meta.counter + #marks
  if index < 1 then return 'history' end
  if marks[index] ~= seen[2] then return 'lost' end
  return nil
end

-- Up to so many keys are counted one by one: exactly, without Lockstep's own and without those that have expired.
local COUNTED = 1000

-- How many keys this database holds besides Lockstep's own.
local function countKeys()
  local size = must('DBSIZE')
  if size > COUNTED then return size - must('EXISTS', META, LOCK, DONE, LEASE) end
  local count = 0
  for _, name in ipairs(must('KEYS', '*')) do
    if isVisible(name) then count = count + 1 end
  end
  return count
end

local function refusedFor(meta) return { 'f', 'generation', meta and meta.generation or 0, countKeys() } end

-- The refusal of a state that this release cannot read, or nil.
local function laterFormat(meta)
  return meta and meta.format > FORMAT and { 'f', 'format', meta.format } or nil
end

-- Runs a script's body, which was given so many bytes. Whatever it raises is answered as text, which its reader counts
-- as no answer.
local function answer(given, body)
  local ok, reply = pcall(body)
  -- What made a long reply is many times its size, and an embedded server has little room for all scripts together.
  if collectgarbage and (given > MUCH or answered > MUCH) then collectgarbage() end
  if ok then return reply end
  return { 'x', tostring(type(reply) == 'table' and reply.err or reply) }
end
