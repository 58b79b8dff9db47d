-- Commands on streams whose result depends on the region's clock: they use the transaction's `now` instead. Times are
-- recorded less the allowance for clocks, because a region whose clock is behind replaces a future time by its own.
--
-- Each function takes the command under its staged names, the allowance in ms, and a function that runs a command.
-- Both return the reply, or nil and the text of the error.

-- The digits of the greatest integer of 64 bits, which a Lua number cannot hold.
local LAST_SEQUENCE = '18446744073709551615'

local function increased(digits)
  local head, nines = match(digits, '^(%d-)(9*)$')
  if head == '' then return '1' .. string.rep('0', #nines) end
  local last = tonumber(sub(head, -1)) + 1
  return sub(head, 1, -2) .. last .. string.rep('0', #nines)
end

-- True if the number of the digits `a` is below that of `b`; neither has leading zeros.
local function isBelow(a, b)
  if #a ~= #b then return #a < #b end
  return before(a, b)
end

local function isIdBelow(a, b)
  local aMs, aSequence = match(a, '^(%d+)%-(%d+)$')
  local bMs, bSequence = match(b, '^(%d+)%-?(%d*)$')
  if not bMs then return false end
  if aMs ~= bMs then return isBelow(aMs, bMs) end
  return isBelow(aSequence, bSequence == '' and '0' or bSequence)
end

-- Returns the id of the entry behind the first `limit` ones, or nil if there are no more. It reads in chunks, because
-- a limit may be any number.
local function idBehind(name, limit)
  local from, left = '-', limit + 1
  while true do
    local entries = must('XRANGE', name, from, '+', 'COUNT', whole(math.min(left, 1000)))
    if #entries == 0 then return nil end
    left = left - #entries
    if left == 0 then return entries[#entries][1] end
    from = '(' .. entries[#entries][1]
  end
end

-- Returns an XADD or XTRIM with LIMIT as one without, whose threshold trims at most that number of entries.
local function limited(arguments)
  local at = arguments[3] == 'NOMKSTREAM' and 4 or 3
  local isTrimming = (arguments[at] == 'MAXLEN' or arguments[at] == 'MINID') and arguments[at + 1] == '='
  if not isTrimming or arguments[at + 3] ~= 'LIMIT' then return arguments end
  local name, threshold, limit = arguments[2], arguments[at + 2], tonumber(arguments[at + 4])
  local kept = {}
  for index, word in ipairs(arguments) do
    if index ~= at + 3 and index ~= at + 4 then insert(kept, word) end
  end
  local length = redis.pcall('XLEN', name)
  -- The command itself reports an error of the key or the threshold.
  if type(length) ~= 'number' then return kept end
  local least = tonumber(threshold)
  if arguments[at] == 'MAXLEN' and least then
    local added = arguments[1] == 'XADD' and 1 or 0
    kept[at + 2] = whole(math.max(least, length + added - limit))
  elseif arguments[at] == 'MINID' and limit < length then
    local bound = idBehind(name, limit)
    if bound and isIdBelow(bound, threshold) then kept[at + 2] = bound end
  end
  return kept
end

local function trim(arguments, _, run) return run(limited(arguments)) end

-- Returns the ms of the id that follows the newest one of a stream: the next ms if its own has no sequence left.
local function msBehind(last)
  local ms, sequence = match(last, '^(%d+)%-(%d+)$')
  return sequence == LAST_SEQUENCE and ms ~= LAST_SEQUENCE and increased(ms) or ms
end

-- Runs XADD with the id `<ms>-*`. If the stream is ahead of it, the id follows the newest one, as with `*`.
local function append(given, _, run)
  local arguments = limited(given)
  local reply, failure = run(arguments)
  if not failure or not string.find(failure, 'equal or smaller', 1, true) then return reply, failure end
  local info, position = must('XINFO', 'STREAM', arguments[2]), 3
  while not match(arguments[position], '^%d+%-%*$') do position = position + 1 end
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then arguments[position] = msBehind(info[index + 1]) .. '-*' end
  end
  reply, failure = run(arguments)
  -- The error of `*`: only the last possible id has no successor.
  if failure and string.find(failure, 'equal or smaller', 1, true) then
    return nil, 'ERR The stream has exhausted the last possible ID, unable to add more items'
  end
  return reply, failure
end

-- Sets the delivery time of pending entries, and changes nothing else of them.
local function setDelivered(name, group, consumer, ids, moment)
  for first = 1, #ids, CHUNK do
    local claim = { 'XCLAIM', name, group, consumer, '0' }
    for index = first, math.min(first + CHUNK - 1, #ids) do insert(claim, ids[index]) end
    for _, word in ipairs({ 'TIME', moment, 'JUSTID' }) do insert(claim, word) end
    must(unpack(claim))
  end
end

-- Returns the id that an XREADGROUP requests of a stream, and the position of that stream at or after `from`. The
-- streams of a reply are in the order of the command, without those that had no entries.
local function askedOf(arguments, name, from)
  local first = 5
  while arguments[first] ~= 'STREAMS' do first = first + (arguments[first] == 'COUNT' and 2 or 1) end
  local count, at = (#arguments - first) / 2, math.max(from, first + 1)
  while at < first + count and arguments[at] ~= name do at = at + 1 end
  return arguments[at + count], at
end

local function keepsPending(arguments)
  for index = 5, #arguments do
    if arguments[index] == 'NOACK' then return false end
    if arguments[index] == 'STREAMS' then return true end
  end
end

-- XREADGROUP GROUP group consumer [COUNT count] [NOACK] STREAMS …
local function deliver(arguments, skew, run)
  local reply, failure = run(arguments)
  if type(reply) ~= 'table' then return reply, failure end
  local isPending, asked, at = keepsPending(arguments), nil, 0
  for _, stream in ipairs(reply) do
    local ids = {}
    asked, at = askedOf(arguments, stream[1], at + 1)
    for _, entry in ipairs(stream[2]) do
      -- A claim would remove a deleted entry from the pending ones. An entry that was not recorded may be pending
      -- elsewhere.
      if entry[2] and (isPending or asked ~= '>') then insert(ids, entry[1]) end
    end
    setDelivered(stream[1], arguments[3], arguments[4], ids, whole(tx.now - skew))
  end
  return reply
end

local function exactClock()
  local time = must('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns pending entries with the time of their delivery instead of the idle time; or nil and the error. Idle times
-- depend on the region's clock, which must not advance meanwhile.
local function pendingOf(name, group, first, last, count)
  while true do
    local clockBefore = exactClock()
    local items = redis.pcall('XPENDING', name, group, first, last, whole(count))
    if items.err then return nil, items.err end
    if exactClock() == clockBefore then
      for _, item in ipairs(items) do item[3] = clockBefore - item[3] end
      return items
    end
  end
end

local function exists(name, id) return #must('XRANGE', name, id, id) > 0 end

-- Runs XCLAIM key group consumer idle id … TIME time … without the ids whose idle time is too short. The time is
-- recorded less the allowance, as those of deliveries are.
local function claim(arguments, skew, run)
  local name, group, least = arguments[2], arguments[3], tonumber(arguments[5])
  local kept, ids, isOption = {}, 0, false
  for index, word in ipairs(arguments) do
    if index > 5 and word == 'TIME' and not isOption then
      isOption = true
      arguments[index + 1] = whole(math.max(tonumber(arguments[index + 1]) - skew, 0))
    end
    local isId = index > 5 and not isOption
    local items = isId and least > 0 and pendingOf(name, group, word, word, 1) or nil
    local isFresh = items and items[1] and tx.now - skew - items[1][3] < least
    if not isId or not isFresh or not exists(name, word) then
      insert(kept, word)
      if isId then ids = ids + 1 end
    end
  end
  kept[5] = '0'
  if ids == 0 then return {} end
  return run(kept)
end

-- Visits pending entries as XAUTOCLAIM does. Returns the ids to claim, the deleted ones, and the next id.
local function seekIdle(name, items, least, count, moment)
  local claimed, deleted, visited = {}, {}, 0
  while visited < count * 10 and #claimed + #deleted < count and items[visited + 1] do
    visited = visited + 1
    local item = items[visited]
    if not exists(name, item[1]) then
      insert(deleted, item[1])
    elseif moment - item[3] >= least then
      insert(claimed, item[1])
    end
  end
  local following = items[visited + 1]
  return claimed, deleted, following and following[1] or '0-0'
end

-- XAUTOCLAIM key group consumer idle start COUNT count [JUSTID]
local function autoclaim(arguments, skew, run)
  local name, group, consumer = arguments[2], arguments[3], arguments[4]
  local count, moment = tonumber(arguments[8]), tx.now - skew
  local items = pendingOf(name, group, arguments[6], '+', count * 10 + 1)
  -- The command itself reports the error.
  if not items then return run(arguments) end
  local claimed, deleted, following = seekIdle(name, items, tonumber(arguments[5]), count, moment)
  local entries = {}
  for _, ids in ipairs({ deleted, claimed }) do
    for first = 1, #ids, CHUNK do
      local words = { 'XCLAIM', name, group, consumer, '0' }
      for index = first, math.min(first + CHUNK - 1, #ids) do insert(words, ids[index]) end
      insert(words, 'TIME')
      insert(words, whole(moment))
      if arguments[9] then insert(words, 'JUSTID') end
      for _, entry in ipairs(must(unpack(words))) do insert(entries, entry) end
    end
  end
  return { following, entries, deleted }
end

local function claimAny(arguments, skew, run)
  if arguments[1] == 'XCLAIM' then return claim(arguments, skew, run) end
  return autoclaim(arguments, skew, run)
end

