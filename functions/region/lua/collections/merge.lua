-- Commits a collection that was staged by its elements (elements.lua): merges the result of the transaction into it,
-- instead of running the commands again.
--
-- The intent is `e|<kind>|<expiry>|<rest>`. The kind is h hash, s set, z sorted set, l list, or x if only the expiry
-- changes. The expiry is the key's afterwards, in ms, or -1; the shadow's own is later.
--  h, s, z   the shadow holds the elements to add or overwrite; the rest lists those to remove, each as
--            <bytes>:<element>
--  l         <length>,<cut left>,<cut right>,<left>,<right>: the length of the base, the numbers of items to cut at its
--            ends, and to push there. The shadow holds the items to push, in that order.
-- Every shadow also holds a placeholder, so that it exists even if there is nothing to add.
--
-- A merge can be repeated, also one that stopped half-way: adding and removing elements are idempotent, and the length
-- of a list shows which items were already cut and pushed.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds that merge pay for it.

-- The placeholder, the same for every shard: a joint transaction is staged by one and applied by another. A sorted set
-- with so long a member leaves the listpack encoding, which has no -0.
local REST = RESERVED .. '0:rest' .. string.rep('.', 60)
local adders = { h = 'HSET', s = 'SADD', z = 'ZADD' }
local removers = { h = 'HDEL', s = 'SREM', z = 'ZREM' }

local module = { REST = REST, removers = removers }

-- Returns the elements as a flat list, and the items per element: fields with values, members, or members with scores.
function module.elementsOf(kind, name)
  if kind == 'h' then return must('HGETALL', name), 2 end
  if kind == 's' then return must('SMEMBERS', name), 1 end
  return must('ZRANGE', name, '0', '-1', 'WITHSCORES'), 2
end

local function raising(reply, failure)
  if not reply then error(failure, 0) end
end

local function readItems(rest)
  local items, at = {}, 1
  while at <= #rest do
    local length, first = match(rest, '^(%d+):()', at)
    insert(items, sub(rest, first, first + length - 1))
    at = first + length
  end
  return items
end

-- Adds before it removes: a collection that is empty in between would lose its expiry.
local function mergeElements(kind, from, into, rest)
  local flat, width = module.elementsOf(kind, from)
  local added = {}
  for index = 1, #flat, width do
    if flat[index] ~= REST then
      if kind == 'z' then insert(added, flat[index + 1]) end
      insert(added, flat[index])
      if kind == 'h' then insert(added, flat[index + 1]) end
    end
  end
  raising(overMany(adders[kind], into, added))
  raising(overMany(removers[kind], into, readItems(rest)))
end

-- Cuts the ends of the list, once: stores its length after the cut at the end of the shadow. Returns that length.
local function cutOnce(from, into, count, length, cutLeft, cutRight)
  if must('LLEN', from) > count + 1 then return tonumber(must('LINDEX', from, '-1')) end
  local found = must('LLEN', into)
  if cutLeft + cutRight > 0 and found == length then
    must('LTRIM', into, whole(cutLeft), whole(-1 - cutRight))
    found = length - cutLeft - cutRight
  end
  must('RPUSH', from, whole(found))
  return found
end

local function mergeItems(from, into, rest)
  local numbers = {}
  for number in string.gmatch(rest, '%d+') do insert(numbers, tonumber(number)) end
  local length, cutLeft, cutRight, left, right = unpack(numbers)
  local base = cutOnce(from, into, left + right, length, cutLeft, cutRight)
  local done, items = must('LLEN', into) - base, must('LRANGE', from, '0', '-1')
  local function push(command, first, last)
    if first <= last then raising(overMany(command, into, { unpack(items, first, last) })) end
  end
  for first = done + 1, left + right, CHUNK do
    local last = math.min(first + CHUNK - 1, left + right)
    push('LPUSH', first, math.min(last, left))
    push('RPUSH', math.max(first, left + 1), last)
  end
end

-- Merges the shadow `from` into the collection `into` according to the intent; raises the server's refusals.
function module.merge(kind, from, into, expiry, rest)
  if kind == 'l' then
    mergeItems(from, into, rest)
  elseif kind ~= 'x' then
    mergeElements(kind, from, into, rest)
  end
  -- Also if the expiry is unchanged: if the key has expired meanwhile, nothing of it may come back.
  if expiry ~= -1 then must('PEXPIREAT', into, whole(expiry)) end
end

-- Adds the effect of a decision to the plan; `text` is the intent behind its `e|`.
function module.plan(plan, isCommit, key, text)
  local shadow = shadowName(plan.id, key)
  if not isCommit then
    insert(plan.unlinks, shadow)
    return
  end
  local kind, expiry, at = match(text, '^([hszlx])|(-?%d+)|()')
  if not kind then
    plan.failure = 'u'
    return
  end
  plan.merges = plan.merges or {}
  insert(plan.merges, { from = shadow, into = key, kind = kind, expiry = tonumber(expiry), rest = sub(text, at) })
end

-- Adds every name that has to exist.
function module.name(plan, names)
  for _, item in ipairs(plan.merges) do
    insert(names, item.from)
    insert(names, item.into)
  end
end

-- False if a shadow or its collection is missing before its expiry. A collection that has expired needs no merge.
function module.stand(plan)
  local standing = {}
  for _, item in ipairs(plan.merges) do
    if must('EXISTS', item.from, item.into) == 2 then
      insert(standing, item)
    elseif item.expiry ~= -1 and item.expiry <= clock() then
      insert(plan.unlinks, item.from)
      insert(plan.unlinks, item.into)
    else
      return false
    end
  end
  plan.merges = standing
  return true
end

local function canRun(plan)
  for _, item in ipairs(plan.merges or {}) do
    if not pcall(module.merge, item.kind, item.from, item.into, item.expiry, item.rest) then
      if again then error(again, 0) end
      return false
    end
  end
  return true
end

-- Merges the collections of all plans. A plan of which the server refuses a merge fails with `r`.
function module.run(plans)
  for _, plan in ipairs(plans) do
    if not canRun(plan) then plan.failure = 'r' end
  end
end

-- The shadows go last: as long as a plan may be applied again, they are needed.
function module.drop(plans)
  local names = {}
  for _, plan in ipairs(plans) do
    for _, item in ipairs(plan.merges or {}) do insert(names, item.from) end
  end
  overMany('UNLINK', nil, names)
end

mergers = module
return module
