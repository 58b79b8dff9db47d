-- Applies decisions: turns the intents of a transaction's locks into a plan, and carries out plans. round.lua and
-- snapshot.lua judge which decisions may be applied.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only scripts that decide pay for it.
--
-- The intent of a lock record is one of
--   k                  keep: nothing to do
--   d                  delete the key
--   p|<expiry>         put: rename the shadow over the key; its expiry in ms, or -1. The shadow expires later
--   s|<pxat>|<value>   set: the value itself, and its expiry in ms, or ''
--   f                  flush: delete every key that is not Lockstep's own
--   r|<ranges>         flush the slots in these ranges: see slots.lua
--   m|<messages>       publish: see messages.lua
--   e|…                merge elements into the key: see merge.lua

-- It takes the module of slots.lua in a script that includes it, as those with shares.lua do. Others leave a flush of
-- slots as unreadable: its commit names the shares of other shards, and so comes in a script that includes both.
local slots = ...

-- Decisions ----------------------------------------------------------------------------------------------------------

-- Every letter of an intent that this release knows. A plan with another one is neither committed nor aborted.
local INTENTS = { k = true, d = true, p = true, s = true, f = true, m = true, e = true, r = true }

-- Returns the plan of a decision about keys that its transaction has all locked, with `failure` 'u' if an intent is
-- unknown.
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
    elseif kind == 'r' and isCommit and slots then
      plan.isFlush, plan.ranges = true, slots.rangesIn(sub(locks[key], at))
    elseif kind == 'e' then
      (mergers or loadMergers()).plan(plan, isCommit, key, sub(locks[key], at))
    elseif kind == 'd' and isCommit then
      insert(plan.unlinks, key)
    elseif kind == 's' and isCommit then
      local bar = string.find(locks[key], '|', at, true)
      insert(plan.sets, { key, sub(locks[key], bar + 1), sub(locks[key], at, bar - 1) })
    elseif kind == 'm' and isCommit then
      unpackMessages(locks[key], at, plan.messages)
    elseif not INTENTS[kind] or (kind == 'r' and isCommit) then
      plan.failure = 'u'
    end
  end
  return plan
end

-- The plans that have not failed.
local function standing(plans)
  local left = {}
  for _, plan in ipairs(plans) do
    if not plan.failure then insert(left, plan) end
  end
  return left
end

-- True if the first write of the plans shows whether the server is full: values are set before anything else, but for
-- the removal of every key.
local function showsFullness(plans)
  for _, plan in ipairs(plans) do
    if plan.isFlush then return false end
  end
  for _, plan in ipairs(plans) do
    -- A plan that lacks a shadow is not carried out.
    if #plan.sets > 0 and #plan.renames == 0 and not plan.merges then return true end
  end
  return false
end

-- Sets the keys of one plan, one by one; it can be repeated.
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

-- True if nothing of the plans can fail except setting keys.
local function areSimple(plans)
  for _, plan in ipairs(plans) do
    if plan.isFlush or plan.merges or #plan.renames > 0 then return false end
  end
  return true
end

-- Sets the keys of all plans. One command sets all keys without an expiry; if the server refuses it, each plan sets its
-- own. If `isLast`, the command that writes the region's state may set them instead.
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

-- The functions for plans that do more than set values. Defined when they are needed: most plans only set values, and
-- each definition takes time.
local function loadOthers()
-- False if a shadow is missing before its expiry. After that, its key has to be absent, so it is deleted instead.
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

-- Marks the plans that lack a shadow as lost. Takes one command if none is missing, and no command for one shadow and
-- nothing else, because RENAME fails without it.
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

local runFlush
do
  -- Deletes the keys that one scan finds, if `isMeant` is true for them. Returns their number, or nil and the error.
  local function flushOnce(isMeant)
    local cursor, count = '0', 0
    repeat
      local reply, names = must('SCAN', cursor, 'COUNT', '1000'), {}
      cursor = reply[1]
      for _, name in ipairs(reply[2]) do
        if isVisible(name) and (not isMeant or isMeant(name)) then insert(names, name) end
      end
      local removed, failure = overMany('UNLINK', nil, names)
      if not removed then return nil, failure end
      count = count + removed
    until cursor == '0'
    return count
  end

  -- Empties the database, unless the transaction has shadows in it, or only some keys are meant. The script writes the
  -- state again as it ends, and the lease here: a lease that exists has its expiry ahead. If the server refuses
  -- FLUSHDB, scans delete the keys: a server whose cursors count keys skips some as others go, so it takes a last scan
  -- that finds none.
  function runFlush(plan, isMeant)
    if not isMeant and #plan.renames == 0 and not plan.merges then
      local lease = must('GET', LEASE)
      if not redis.pcall('FLUSHDB', 'ASYNC').err then
        if lease then must('SET', LEASE, lease, 'PXAT', lease) end
        return
      end
    end
    repeat
      local count = flushOnce(isMeant)
      if not count then plan.failure = 'r' end
    until not count or count == 0
  end
end

local function failAll(plans)
  for _, plan in ipairs(plans) do plan.failure = plan.failure or 'r' end
end

-- Renames the shadow over its key. The shadow gets its real expiry first, so that a plan that stops here can be applied
-- again. If that expiry has passed, it deletes the shadow, and the key is deleted instead. Nothing deletes the key
-- before RENAME replaces it: subscribers would be notified of a deletion (rule R15). RENAME frees a large value in
-- line, as SET does, in less time than staging took to copy that value. Returns nil, or the failure.
local function putShadow(rename)
  local shadow, key, expiry = rename[1], rename[2], rename[3]
  if expiry ~= -1 and type(redis.pcall('PEXPIREAT', shadow, whole(expiry))) == 'table' then return 'r' end
  if not redis.pcall('RENAME', shadow, key).err then return nil end
  if must('EXISTS', shadow) == 1 then return 'r' end
  if expiry == -1 or expiry > clock() then return 'l' end
  return type(redis.pcall('UNLINK', key)) ~= 'number' and 'r' or nil
end

-- Deletes the keys that plans delete, then renames their shadows over their keys.
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

return { check = checkShadows, flush = runFlush, rename = runRenames }
end

-- True if a plan does more than set values.
local function hasOthers(plans)
  for _, plan in ipairs(plans) do
    if plan.isFlush or plan.merges or #plan.renames > 0 or #plan.unlinks > 0 then return true end
  end
  return false
end

-- Applies each plan whole, or sets its `failure` ('l' lost, 'r' refused) and keeps its locks. finishPlans does the rest
-- after the state has been written. `isLast`: until then, nothing else in this script reads or changes data.
local function applyPlans(region, plans, isLast)
  if #plans == 0 then return end
  local others = hasOthers(plans) and loadOthers()
  if others then
    others.check(plans)
    plans = standing(plans)
    -- A plan that deletes every key is alone, and its other changes come after that.
    for _, plan in ipairs(plans) do
      if plan.ranges then
        slots.flush(plan, others.flush)
      elseif plan.isFlush then
        others.flush(plan)
      end
    end
  end
  setAll(region, standing(plans), isLast)
  if mergers then mergers.run(standing(plans)) end
  if others then others.rename(standing(plans)) end
  region.applied = standing(plans)
  for _, plan in ipairs(region.applied) do
    addSettled(region, orderOf(plan.id))
    dropLocks(region, plan.keys)
  end
end

-- Completes the applied plans after their locks are gone: removes merged shadows, and publishes messages.
local function finishPlans(region)
  if not region.applied then return end
  if mergers then mergers.drop(region.applied) end
  publishAll(region.applied)
end
return { planOf = planOf, apply = applyPlans, finish = finishPlans, showsFullness = showsFullness }
