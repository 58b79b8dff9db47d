-- How a commit changes a collection that was staged by its elements (elements.lua): by what the transaction came to,
-- not by running its commands again.
--
-- The intent is `e|<kind>|<expiry>|<rest>`. The kind is h hash, s set, z sorted set, l list, or x where only the expiry
-- changes. The expiry is what the key has afterwards, in ms, or -1; the shadow has it put off.
--   h, s, z   the shadow holds the elements that are to be there; the rest lists those that are not, each as
--             <bytes>:<element>
--   l         <length>,<cut left>,<cut right>,<left>,<right>: the length that the list had, how many items go at its
--             ends, and how many come there. The shadow holds those, in the order in which they are pushed.
-- Every shadow holds one element more, so that it exists although there is nothing to add.
--
-- A merge can be repeated, also one that stopped half-way: elements are there or not, however often they are written;
-- and of a list, its length tells what was cut and what was pushed.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds that merge pay for it.

-- Its length keeps a sorted set from the packed form of small ones, which has no -0.
local REST = PREFIX .. 'rest' .. string.rep('.', 60)
local adders = { h = 'HSET', s = 'SADD', z = 'ZADD' }
local removers = { h = 'HDEL', s = 'SREM', z = 'ZREM' }

local module = { REST = REST, removers = removers }

-- The elements in one flat row, and how many items of it make one: (field, value)s, members, or (member, score)s.
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

-- The length of the list after the cut is noted at the end of the shadow. Returns it.
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

-- Changes the collection `into` as the shadow `from` and the intent say; raises what the server refuses.
function module.merge(kind, from, into, expiry, rest)
  if kind == 'l' then
    mergeItems(from, into, rest)
  elseif kind ~= 'x' then
    mergeElements(kind, from, into, rest)
  end
  -- Also if it was the same before: if the key has expired meanwhile, nothing of it may come back.
  if expiry ~= -1 then must('PEXPIREAT', into, whole(expiry)) end
end

-- Adds to the plan what a decision does with the intent's text behind its `e|`.
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

-- False if a shadow or its collection is missing before its expiry. Of what has expired nothing is left to change.
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
    if not pcall(module.merge, item.kind, item.from, item.into, item.expiry, item.rest) then return false end
  end
  return true
end

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
