-- Staging of large collections by their elements: the shadow holds only the elements that the transaction addresses,
-- and a placeholder, so that it is never empty and has the collection's type and its postponed expiry. Commands run on
-- the shadow unchanged and reply as they would on the whole; lengths in their replies are corrected. merge.lua applies
-- a commit.
--
-- This text and element-commands.lua are a module: lua-bundle.ts makes them a function's body, so that only rounds
-- that touch large collections pay for it.
--
-- state.part: { kind, size, expiry, present, known, journal, … }
--  kind      the type; size: the number of elements of the base; expiry: in ms, or -1
--  isNew     true until the shadow is made; mayExpire: true if a command may have changed its expiry
--  known     by element: its value in the base (true for a member of a set), or false if the base does not have it
--  journal   the known elements, in the order in which they were read; present: the number of them in the base
--  reached, edges, ranges   of a sorted set: the number of known elements at each end, with the last of them as
--            { member, score }; and the score ranges that are known completely
--  isHidden  true while the placeholder of a sorted set is removed
--  cut, side   of a list: the number of items of the base's two ends that were moved to the shadow, and the number of
--            items that the shadow has there now; the placeholder stands between them, for the rest
local REST, LOW, HIGH = (mergers or loadMergers()).REST, 1, 2
local finders = { hash = 'HMGET', set = 'SMISMEMBER', zset = 'ZMSCORE' }
local letters = { hash = 'h', set = 's', zset = 'z', list = 'l' }

-- A base that expires within this time is copied, in ms: it could be gone before this script ends.
local SOON = 1000

local adders = { hash = 'HSET', set = 'SADD', zset = 'ZADD', list = 'RPUSH' }

-- Adds elements to the shadow, as arguments of their command. The first call adds the placeholder, and sets the
-- expiry.
local function addAll(part, name, added)
  local isNew = part.isNew
  part.isNew = false
  if isNew and part.kind == 'stream' then must('XADD', name, '1-1', REST, '') end
  if isNew and part.kind ~= 'stream' then
    if part.kind == 'zset' then insert(added, '0') end
    insert(added, REST)
    if part.kind == 'hash' then insert(added, '') end
  end
  local reply, failure = overMany(adders[part.kind], name, added)
  if not reply then error(failure, 0) end
  if isNew and part.expiry ~= -1 then must('PEXPIREAT', name, putOff(part.expiry)) end
end

local module = {}

-- Makes the shadow, unless it exists.
function module.make(key, part)
  if part.isNew then addAll(part, shadowName(tx.id, key), {}) end
end

-- Begins to stage the key by its elements. False if it has to be copied.
function module.begin(key, state, kind, size)
  local print = fingerprint(key, state)
  if print ~= 'persistent' and tonumber(print) <= clock() + SOON then
    -- The base would expire before a long copy ends.
    if size > STEPS_PER_COMMAND / 4 then error('is about to expire, and too large to copy', 0) end
    return false
  end
  newShadow(key, state)
  state.at = 'part'
  state.part = {
    kind = kind, size = size, expiry = print == 'persistent' and -1 or tonumber(print), isNew = true, present = 0,
    known = {}, journal = {}, reached = { 0, 0 }, edges = {}, ranges = {}, cut = { 0, 0 }, side = { 0, 0 },
  }
  return true
end

-- Returns a savepoint of the part, to which `rewind` returns it.
function module.savepointOf(part)
  return { #part.journal, part.cut[LOW], part.cut[HIGH], part.side[LOW], part.side[HIGH] }
end

-- Forgets everything that was read since the savepoint: the shadow is again as it was then.
function module.rewind(part, savepoint)
  for index = #part.journal, savepoint[1] + 1, -1 do
    local element = part.journal[index]
    if part.known[element] then part.present = part.present - 1 end
    part.known[element], part.journal[index] = nil, nil
  end
  part.reached, part.edges, part.ranges = { 0, 0 }, {}, {}
  part.cut, part.side = { savepoint[2], savepoint[3] }, { savepoint[4], savepoint[5] }
end

-- Notes an element that was unknown, with its value in the base, and adds it to the elements for the shadow.
local function note(part, element, value, added)
  part.known[element] = value
  insert(part.journal, element)
  if not value then return end
  part.present = part.present + 1
  if part.kind == 'zset' then insert(added, value) end
  insert(added, element)
  if part.kind == 'hash' then insert(added, value) end
end

-- Loads elements into the shadow by name. False if one has the name of the placeholder.
local function find(key, part, wanted)
  local asked, added = {}, {}
  for _, element in ipairs(wanted) do
    if element == REST then return false end
  end
  for _, element in ipairs(wanted) do
    if part.known[element] == nil then
      part.known[element] = false
      insert(asked, element)
    end
  end
  for first = 1, #asked, CHUNK do
    local last = math.min(first + CHUNK - 1, #asked)
    for index, value in ipairs(must(finders[part.kind], key, unpack(asked, first, last))) do
      if part.kind == 'set' then value = value == 1 end
      note(part, asked[first + index - 1], value, added)
    end
  end
  addAll(part, shadowName(tx.id, key), added)
  return true
end

-- Loads members of the base with their scores into the shadow.
local function take(key, part, flat)
  local added = {}
  for index = 1, #flat, 2 do
    if flat[index] == REST then return false end
  end
  for index = 1, #flat, 2 do
    if part.known[flat[index]] == nil then note(part, flat[index], flat[index + 1], added) end
  end
  addAll(part, shadowName(tx.id, key), added)
  return true
end

-- Returns the number of elements of the staged collection.
function module.lengthOf(key, part)
  if part.kind == 'list' then return part.size - part.cut[LOW] - part.cut[HIGH] + part.side[LOW] + part.side[HIGH] end
  local count = must(lengths[part.kind], shadowName(tx.id, key))
  return part.size - part.present + count - (part.isHidden and 0 or 1)
end

-- Replaces the items of a list.
local function rewrite(name, items)
  local expiry = must('PEXPIRETIME', name)
  must('UNLINK', name)
  local reply, failure = overMany('RPUSH', name, items)
  if not reply then error(failure, 0) end
  if expiry >= 0 then must('PEXPIREAT', name, whole(expiry)) end
end

-- Orders a list's shadow for its merge. Returns the rest of the intent, or nil if nothing has changed.
local function sealItems(part, name)
  local left, right = part.side[LOW], part.side[HIGH]
  if part.cut[LOW] + part.cut[HIGH] + left + right == 0 then return nil end
  local items, ordered = must('LRANGE', name, '0', '-1'), {}
  for index = left, 1, -1 do insert(ordered, items[index]) end
  for index = left + 2, #items do insert(ordered, items[index]) end
  insert(ordered, REST)
  rewrite(name, ordered)
  local numbers = { part.size, part.cut[LOW], part.cut[HIGH], left, right }
  for index, number in ipairs(numbers) do numbers[index] = whole(number) end
  return concat(numbers, ',')
end

-- Removes unchanged elements from the shadow. Returns the rest of the intent, or nil if nothing has changed.
local function sealElements(part, name)
  local letter = letters[part.kind]
  local flat, width = mergers.elementsOf(letter, name)
  local left, same, removed = {}, {}, {}
  for index = 1, #flat, width do
    local element = flat[index]
    left[element] = true
    if part.known[element] == (width == 1 or flat[index + 1]) then insert(same, element) end
  end
  for _, element in ipairs(part.journal) do
    if part.known[element] and not left[element] then insert(removed, #element .. ':' .. element) end
  end
  if #removed == 0 and #flat == (#same + 1) * width then return nil end
  local reply, failure = overMany(mergers.removers[letter], name, same)
  if not reply then error(failure, 0) end
  return concat(removed)
end

-- Prepares a shadow, found under `name`, for its merge. Returns its expiry, and the rest of the intent or nil if no
-- element has changed.
local function seal(part, name)
  local expiry = part.mayExpire and stagedExpiry(name) or part.expiry
  if part.kind == 'list' then return expiry, sealItems(part, name) end
  if part.kind == 'stream' then return expiry, nil end
  return expiry, sealElements(part, name)
end

-- Returns the intent of a lock record.
function module.intentOf(key, state)
  local part, name = state.part, shadowName(tx.id, key)
  local expiry, rest = seal(part, name)
  if not rest and expiry == part.expiry then
    must('UNLINK', name)
    return 'k'
  end
  return concat({ 'e', rest and letters[part.kind] or 'x', whole(expiry), rest or '' }, '|')
end

-- Stages the whole key instead: copies the base, and merges the staged changes into the copy.
function module.makeWhole(key, state)
  -- Most commands that need the whole are refused earlier; some show this need only while they load.
  local isFast = state.part.kind == 'list' or state.part.kind == 'stream'
  if state.part.size > STEPS_PER_COMMAND and not isFast then error('has too many elements to copy', 0) end
  local part, name, work = state.part, shadowName(tx.id, key), PREFIX .. 'work:' .. tx.id .. ':' .. key
  module.make(key, part)
  protect(key, state)
  insert(tx.stagedNames, work)
  must('RENAME', name, work)
  must('COPY', key, name, 'REPLACE')
  local expiry, rest = seal(part, work)
  mergers.merge(rest and letters[part.kind] or 'x', work, name, expiry == -1 and -1 or expiry + tx.expiryPutOffMs, rest)
  must('UNLINK', work)
  state.at, state.part = 'shadow', nil
end

-- Drops the staged elements, because the key is to be deleted or set.
function module.leave(key, state)
  protect(key, state)
  save(key, state)
  must('UNLINK', shadowName(tx.id, key))
  state.at, state.part = 'gone', nil
end

-- True if a check can read the shadow; `field` is the one that it compares, or false.
function module.canCheck(key, state, field)
  if not field or state.part.kind ~= 'hash' then return true end
  return find(key, state.part, { field })
end
