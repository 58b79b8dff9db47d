-- Judges and performs the copy step of a round. round.lua has its forms and replies; copy-source.lua reads values, and
-- copy-target.lua writes them.
--
-- Guarantees: when a copy begins, no lock, shadow or settled transaction of earlier rounds is left; a step that is
-- late, by its token, its number, its epoch or its incarnation, changes nothing.
--
-- A step that stops half-way is sent again under a higher number. The state keeps the number of the last step that was
-- done, so an older one that arrives later is refused.

-- The names that round.lua needs; the others are in a block, because Lua allows 200 local names per function.
local dropShard, enterCopy, performCopy
do
-- Drops the locks and their shadows, the settled transactions, and the lease. Raises an error of the server.
function dropShard(region)
  local names = {}
  for key, record in pairs(readAllLocks(region)) do
    if match(record, '^[^|]+|[pe]') then insert(names, shadowName(holderOf(record), key)) end
  end
  local _, failure = overMany('UNLINK', nil, names)
  if failure then error(failure, 0) end
  must('UNLINK', LEASE, LOCK, OLD_STATE, OLD_SETTLED)
  region.locks, region.far, region.hasFarLocks, region.isChanged, region.isOld = {}, {}, false, true, nil
  region.settled, region.runs, region.hasNoLease = '', nil, true
end

-- The reason to refuse the step, or nil.
local function objectionToCopy(region, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  if round.incarnation < region.incarnation or round.epoch < region.epoch then return 'epoch' end
  if kind == 'b' and token == region.phase and number <= region.copyNumber then return 'number' end
  if kind == 'w' and (region.phase == '' or token ~= region.phase) then return 'token' end
  if kind == 'w' and number <= region.copyNumber then return 'number' end
  if (kind == 's' or kind == 'r') and region.phase ~= '' then return 'token' end
  return nil
end

-- Judges the copy step before the round changes data, and sets the phase and the number. Returns the refusal, or nil.
function enterCopy(region, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  local objection = objectionToCopy(region, round)
  if objection then return '["f","' .. objection .. '"]' end
  if kind == 'b' then region.phase = token end
  if kind == 'b' or kind == 'w' then region.copyNumber = number end
  return nil
end

-- Returns the users' keys from `cursor` on, Lockstep's own, and in JSON the next cursor or null.
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

-- Deletes the staged names of before the copy phase, to which no lock refers any more.
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

-- Performs a copy step that enterCopy has accepted. Returns its reply in JSON.
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
