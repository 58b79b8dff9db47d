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
-- Drops the locks, with the shadows that they lead to, what is done, and the lease.
function dropShard()
  local flat, names = must('HGETALL', LOCK), {}
  for index = 1, #flat, 2 do
    if match(flat[index + 1], '^[^|]+|[pe]') then insert(names, shadowName(holderOf(flat[index + 1]), flat[index])) end
  end
  local _, failure = overMany('UNLINK', nil, names)
  if failure then error(failure, 0) end
  must('UNLINK', LEASE, LOCK, DONE)
end

-- What stands against the step, or nil.
local function objectionToCopy(meta, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  if round.incarnation < meta.incarnation or round.epoch < meta.epoch then return 'epoch' end
  if kind == 'b' and token == meta.phase and number <= meta.copyNumber then return 'number' end
  if kind == 'w' and (meta.phase == '' or token ~= meta.phase) then return 'token' end
  if kind == 'w' and number <= meta.copyNumber then return 'number' end
  if (kind == 's' or kind == 'r') and meta.phase ~= '' then return 'token' end
  return nil
end

-- Before the round is noted: judges its copy step, and puts the region into its phase. Returns the refusal, or nil.
function enterCopy(meta, round)
  local kind, token, number = round.copy[1], round.copy[2], round.copy[3]
  local objection = objectionToCopy(meta, round)
  if objection then return '["f","' .. objection .. '"]' end
  if kind == 'b' then meta.phase = token end
  if kind == 'b' or kind == 'w' then meta.copyNumber = number end
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

local function scanSource(cursor, count, form, bound)
  local keys, _, after = scanKeys(cursor, count)
  local wanted = {}
  for _, key in ipairs(keys) do
    insert(wanted, key)
    insert(wanted, '')
  end
  return copySource()(wanted, form, bound, after, whole(must('DBSIZE')))
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

local function listTarget(meta, cursor, count)
  local keys, own, after = scanKeys(cursor, count)
  if meta.phase ~= '' then dropLeftovers(own) end
  return '["l",' .. encode(keys) .. ',' .. after .. ']'
end

-- Performs a copy step that nothing stands against.
function performCopy(meta, round)
  local copy, bound = round.copy, round.bounds[5]
  local kind = copy[1]
  if kind == 'b' then
    dropShard()
    return '["b"]'
  end
  if kind == 's' then return scanSource(copy[2], copy[3], copy[4], bound) end
  if kind == 'w' then return '["w",' .. copyTarget()(copy[4]) .. ']' end
  if kind == 'l' then return listTarget(meta, copy[2], copy[3]) end
  local wanted = {}
  for index, value in ipairs(copy[2]) do wanted[index] = fold(value) end
  return copySource()(wanted, copy[3], bound, 'null', 'null')
end
end
