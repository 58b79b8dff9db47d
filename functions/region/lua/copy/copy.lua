-- The copy step of a round. round.lua has its forms and replies.
--
-- Guarantees: a copy begins with nothing left of what was prepared or decided before it; a step that is late, by its
-- token, its number, its epoch or its incarnation, changes nothing.
--
-- The phase and the number are kept before anything is written, so a step that stops half-way is sent again under a
-- higher number, and an older one cannot come in between.

-- The names that round.lua needs; the others have a block of their own, as Lua takes 200 of one function.
local dropShard, enterCopy, performCopy
do
-- Drops the locks, with the shadows that they lead to, the settled transactions, and the lease.
function dropShard(region)
  local names = {}
  for key, record in pairs(readAllLocks(region)) do
    if match(record, '^[^|]+|[pe]') then insert(names, shadowName(holderOf(record), key)) end
  end
  local _, failure = overMany('UNLINK', nil, names)
  if failure then error(failure, 0) end
  must('UNLINK', LEASE, LOCK, OLD_STATE, OLD_SETTLED)
  region.locks, region.far, region.isFar, region.isChanged, region.isOld = {}, {}, false, true, nil
  region.settled, region.runs = '', nil
end

-- What stands against the step, or nil.
local function objectionToCopy(region, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  if round.incarnation < region.incarnation or round.epoch < region.epoch then return 'epoch' end
  if kind == 'b' and token == region.phase and number <= region.copyNumber then return 'number' end
  if kind == 'w' and (region.phase == '' or token ~= region.phase) then return 'token' end
  if kind == 'w' and number <= region.copyNumber then return 'number' end
  if (kind == 's' or kind == 'r') and region.phase ~= '' then return 'token' end
  return nil
end

-- Before the round is noted: judges its copy step, and puts the region into its phase. Returns the refusal, or nil.
function enterCopy(region, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  local objection = objectionToCopy(region, round)
  if objection then return '["f","' .. objection .. '"]' end
  if kind == 'b' then region.phase = token end
  if kind == 'b' or kind == 'w' then region.copyNumber = number end
  return nil
end

-- The keys from `cursor` on without Lockstep's own, which are returned apart, and where to go on.
local function scanKeys(cursor, count)
  local reply, keys, own = must('SCAN', cursor, 'COUNT', whole(count)), {}, {}
  for _, key in ipairs(reply[2]) do
    insert(isVisible(key) and keys or own, key)
  end
  return keys, own, reply[1] ~= '0' and text(reply[1]) or 'null'
end

local function scanSource(region, cursor, count, form, bound)
  local keys, _, after = scanKeys(cursor, count)
  local wanted = {}
  for _, key in ipairs(keys) do
    insert(wanted, key)
    insert(wanted, '')
  end
  return copySource()(region, wanted, form, bound, after, whole(must('DBSIZE')))
end

local leftovers = { 'shadow:', 'backup:', 'work:', 'copy:' }

-- In a copy phase nothing leads to what Lockstep has staged here before.
local function dropLeftovers(own)
  local names = {}
  for _, key in ipairs(own) do
    for _, kind in ipairs(leftovers) do
      if sub(key, 1, #PREFIX + #kind) == PREFIX .. kind then insert(names, key) end
    end
  end
  overMany('UNLINK', nil, names)
end

local function listTarget(region, cursor, count)
  local keys, own, after = scanKeys(cursor, count)
  if region.phase ~= '' then dropLeftovers(own) end
  return '["l",' .. encode(keys) .. ',' .. after .. ']'
end

-- Performs a copy step that nothing stands against.
function performCopy(region, round)
  local copy, bound = round.copy, round.bounds[5]
  local kind = copy[1]
  if kind == 'b' then
    dropShard(region)
    return '["b"]'
  end
  if kind == 's' then return scanSource(region, copy[2], copy[3], copy[4], bound) end
  if kind == 'w' then return '["w",' .. copyTarget()(copy[4]) .. ']' end
  if kind == 'l' then return listTarget(region, copy[2], copy[3]) end
  local wanted = {}
  for index, value in ipairs(copy[2]) do wanted[index] = fold(value) end
  return copySource()(region, wanted, copy[3], bound, 'null', 'null')
end
end
