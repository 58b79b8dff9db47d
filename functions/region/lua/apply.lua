-- Decisions, as the scripts of a region apply them.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only scripts that decide pay for it.
--
-- The intent of a lock record is one of
--   k                  keep: nothing to do
--   d                  delete the key
--   p|<expiry>         put: rename the shadow over the key; its expiry in ms, or -1. The shadow has it put off
--   s|<pxat>|<value>   set: the value itself, and its expiry in ms, or ''
--   f                  flush: delete every key that is not Lockstep's own
--   m|<messages>       publish: see messages.lua
--   e|…                merge elements into the key: see merge.lua

-- Decisions ----------------------------------------------------------------------------------------------------------

-- Every letter of an intent that this release knows. A plan with another one is not carried out, to commit or to abort.
local INTENTS = { k = true, d = true, p = true, s = true, f = true, m = true, e = true }

-- The plan of a decision about keys that are all locked by its transaction.
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

-- Marks the plans that lack a shadow as lost. One command if all is well; none if there is one shadow and nothing else,
-- as RENAME finds out itself.
local function checkShadows(plans)
  local only = #plans == 1 and plans[1]
  local others = only and #only.sets + #only.unlinks + #only.messages
  if only and not only.merges and #only.renames == 1 and others == 0 then return end
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

-- Finds out whether the server is full, if the first write of the plans would not show it.
local function probe(plans)
  for _, plan in ipairs(plans) do
    if #plan.sets > 0 then return end
  end
  must('SETRANGE', NOWHERE, '0', '')
end

local function failAll(plans)
  for _, plan in ipairs(plans) do plan.failure = plan.failure or 'r' end
end

-- Sets the keys of one plan. It can run again.
local function setEach(plan)
  for _, item in ipairs(plan.sets) do
    local reply
    if item[3] == '' then
      reply = redis.pcall('SET', item[1], item[2])
    else
      reply = redis.pcall('SET', item[1], item[2], 'PXAT', item[3])
    end
    if reply.err then
      noteFailure(reply.err)
      plan.failure = 'r'
      return
    end
  end
end

-- True if nothing of the plans but the setting of keys can fail.
local function areSimple(plans)
  for _, plan in ipairs(plans) do
    if plan.isFlush or plan.merges or #plan.renames > 0 then return false end
  end
  return true
end

-- Sets the keys of all plans. Keys without an expiry are set by one command; if the server refuses it, each plan is on
-- its own. If `isLast`, the command that writes the region's state may set them too.
local function setAll(region, plans, isLast)
  local plain = {}
  for _, plan in ipairs(plans) do
    for _, item in ipairs(plan.sets) do
      if item[3] ~= '' then
        local reply = redis.pcall('SET', item[1], item[2], 'PXAT', item[3])
        if reply.err then
          noteFailure(reply.err)
          plan.failure = 'r'
        end
      else
        plain[#plain + 1] = item[1]
        plain[#plain + 1] = item[2]
      end
    end
  end
  if isLast and #plain < CHUNK and not isCareful and areSimple(plans) then
    region.values = plain
    return
  end
  local _, failure = overMany('MSET', nil, plain)
  if not failure then return end
  for _, plan in ipairs(standing(plans)) do setEach(plan) end
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

  -- Empties the database, if the transaction has no shadows in it. The state is written again as the script ends, and
  -- the lease here: it is alive, so its expiry lies ahead. If the server refuses that, the keys are deleted one by one:
  -- a server whose cursors count keys skips some while others go, so it ends with a scan that finds none.
  function runFlush(plan)
    if #plan.renames == 0 and not plan.merges then
      local lease = must('GET', LEASE)
      if not redis.pcall('FLUSHDB', 'ASYNC').err then
        if lease then must('SET', LEASE, lease, 'PXAT', lease) end
        return
      end
    end
    repeat
      local count = flushOnce()
      if not count then plan.failure = 'r' end
    until not count or count == 0
  end
end

-- Puts the shadow in the place of its key. It gets its real expiry before that, so that a plan which is stopped here
-- can be applied again; an expiry that has passed deletes it, and then there is nothing to rename, and the key goes.
-- RENAME replaces a key by itself: to delete it first would notify subscribers of a deletion (rule R15). It frees a
-- large value in line, as SET does, in less time than staging took to copy that value. Returns nil, or the failure.
local function putShadow(rename)
  local shadow, key, expiry = rename[1], rename[2], rename[3]
  if expiry ~= -1 and type(redis.pcall('PEXPIREAT', shadow, whole(expiry))) == 'table' then return 'r' end
  if not redis.pcall('RENAME', shadow, key).err then return nil end
  if must('EXISTS', shadow) == 1 then return 'r' end
  if expiry == -1 or expiry > clock() then return 'l' end
  return type(redis.pcall('UNLINK', key)) ~= 'number' and 'r' or nil
end

local function runRenames(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, name in ipairs(plan.unlinks) do insert(names, name) end
  end
  if not overMany('UNLINK', nil, names) then return failAll(plans) end
  for _, plan in ipairs(plans) do
    for _, rename in ipairs(plan.renames) do
      plan.failure = plan.failure or putShadow(rename)
    end
  end
end

-- Applies plans whole. A plan that could not be applied has `failure` set ('l' lost, 'r' refused) and keeps its locks.
-- finishPlans does the rest once the state has been written. `isLast` says that nothing else of this script
-- reads or changes data before that.
local function applyPlans(region, plans, isLast)
  if #plans == 0 then return end
  checkShadows(plans)
  plans = standing(plans)
  if region.probes then probe(plans) end
  -- A plan that deletes every key is alone, and its other changes come after that.
  for _, plan in ipairs(plans) do
    if plan.isFlush then runFlush(plan) end
  end
  setAll(region, standing(plans), isLast)
  if mergers then mergers.run(standing(plans)) end
  runRenames(standing(plans))
  region.applied = standing(plans)
  for _, plan in ipairs(region.applied) do
    addSettled(region, orderOf(plan.id))
    dropLocks(region, plan.keys)
  end
end

-- Completes the applied plans when their locks are gone: removes merged shadows, and publishes messages.
local function finishPlans(region)
  if not region.applied then return end
  if mergers then mergers.drop(region.applied) end
  publishAll(region.applied)
end
return { planOf = planOf, apply = applyPlans, finish = finishPlans }
