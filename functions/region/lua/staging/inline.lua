-- Stages a transaction whose commands only set, change or delete short strings: the change of a key fits into its lock
-- record, so nothing is staged under another name, and the commit sets all keys by one command.
--
-- Guarantees: the vote is the one that stage.lua would give. A transaction with anything else in it (another command, a
-- check, an error, a key of another type, a number of more than 15 characters) is left to stage.lua, with nothing
-- changed.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds that prepare pay for it.

-- The maximum length of a value that APPEND makes, in bytes; stage.lua stages a longer value under a name of its own.
local APPENDED = 4096
-- The bytes of a value that show whether it is an integer: no integer is longer.
local COUNTED = 32
local COUNTING = ' DECR DECRBY INCR INCRBY '
-- Keys whose values one command reads. Any of them can be large, and a script has to hold them all.
local TOGETHER = 8

-- The prepares of the round, and the values of the numbers that they change, by key, if these are many.
local prepares, numbers
-- Of the transaction that is staged: its `now`, and the staged state of each key. A state has `at` as in state.lua,
-- `fingerprint`, and `value` and `pxat` unless it is gone; `value` is nil as long as it is not known.
local now, states

-- Reads the numbers of all prepares together, if they are so many that this takes fewer commands. It ends with the
-- first values that are too long for numbers.
local function loadNumbers()
  numbers = {}
  local keys, seen = {}, {}
  for _, prepare in ipairs(prepares) do
    for _, part in ipairs(prepare[5]) do
      for _, operation in ipairs(part[2]) do
        local key = operation[1] == 0 and isNamed(COUNTING, operation[2][1]) and operation[2][2]
        if key and not seen[key] then
          seen[key] = true
          keys[#keys + 1] = key
        end
      end
    end
  end
  if #keys <= TOGETHER then return end
  for first = 1, #keys, TOGETHER do
    local last, bytes = math.min(first + TOGETHER - 1, #keys), 0
    for index, value in ipairs(must('MGET', unpack(keys, first, last))) do
      -- MGET takes a key of another type for a missing one, so only texts are of use.
      numbers[keys[first + index - 1]] = value or nil
      bytes = bytes + (value and #value or 0)
    end
    if bytes > COUNTED * TOGETHER then return end
  end
end

-- True if the staged key exists.
local function isThere(key, state)
  if state.at == 'gone' then return false end
  if state.at == 'inline' then return true end
  if state.fingerprint == '' then
    local expiry = must('PEXPIRETIME', key)
    state.wasThere = expiry ~= -2
    if expiry == -1 then
      state.fingerprint, state.pxat = 'persistent', ''
    elseif expiry <= now then
      state.fingerprint = 'absent'
    else
      state.fingerprint, state.pxat = whole(expiry), whole(expiry)
    end
  end
  return state.fingerprint ~= 'absent'
end

-- The staged value of a key, false if it is absent, nil if it is no string. At most `most` bytes of it, if given.
local function valueOf(key, state, most)
  if not isThere(key, state) then return false end
  if state.at == 'inline' then return state.value end
  local value
  if most then
    value = redis.pcall('GETRANGE', key, '0', whole(most - 1))
  else
    value = redis.pcall('GET', key)
  end
  return type(value) == 'string' and value or nil
end

-- The same for a number: no more of the value than an integer has.
local function numberOf(key, state)
  if not isThere(key, state) then return false end
  if state.at == 'inline' then return state.value end
  if not numbers then loadNumbers() end
  return numbers[key] or valueOf(key, state, COUNTED)
end

local function put(state, value, pxat)
  if pxat ~= '' and tonumber(pxat) <= now then
    state.at = 'gone'
  else
    state.at, state.value, state.pxat = 'inline', value, pxat
  end
  return { ok = 'OK' }
end

-- The commands by name, each with its arguments, its key and the key's state. They return the reply, or nil to leave
-- the transaction to stage.lua.
local commands = {}

-- The number in a text of Redis's form of integers, if it has fewer than 16 characters; else nil.
local function integerOf(value)
  if value == '0' or match(value, '^%-?[1-9]%d*$') and #value < 16 then return tonumber(value) end
end

local function add(key, state, by)
  local value = numberOf(key, state)
  if value == nil or not by then return nil end
  local number = value and integerOf(value) or (not value and 0)
  if not number then return nil end
  put(state, whole(number + by), value and state.pxat or '')
  return number + by
end

function commands.INCR(_, key, state) return add(key, state, 1) end
function commands.DECR(_, key, state) return add(key, state, -1) end
function commands.INCRBY(args, key, state) return add(key, state, integerOf(args[3])) end
function commands.DECRBY(args, key, state)
  local by = integerOf(args[3])
  return by and add(key, state, -by)
end

function commands.GET(_, key, state) return valueOf(key, state) end

-- A value that had expired by `now` is removed, as by stage.lua: the region's own clock may keep it for a while.
function commands.GETDEL(_, key, state)
  local value = valueOf(key, state)
  if value ~= nil then state.at = 'gone' end
  return value
end

function commands.GETSET(args, key, state)
  local value = valueOf(key, state)
  if value ~= nil then put(state, args[3], '') end
  return value
end

function commands.SETNX(args, key, state)
  if isThere(key, state) then return 0 end
  put(state, args[3], '')
  return 1
end

function commands.APPEND(args, key, state)
  local value = valueOf(key, state, APPENDED + 1)
  if value == nil then return nil end
  local longer = (value or '') .. args[3]
  if longer == '' or #longer > APPENDED then return nil end
  put(state, longer, value and state.pxat or '')
  return #longer
end

function commands.SET(args, key, state)
  local pxat, mustBe, isAsked, keeps, at = '', nil, false, false, 4
  while args[at] do
    local word = args[at]
    if word == 'PXAT' and match(args[at + 1] or '', '^[1-9]%d*$') then
      pxat, at = args[at + 1], at + 1
    elseif word == 'NX' or word == 'XX' then
      mustBe = word
    elseif word == 'GET' then
      isAsked = true
    elseif word == 'KEEPTTL' then
      keeps = true
    else
      return nil
    end
    at = at + 1
  end
  local isPresent, old = isThere(key, state), nil
  if isAsked then
    old = valueOf(key, state)
    if old == nil then return nil end
  end
  if mustBe == 'NX' and isPresent then return isAsked and old or false end
  if mustBe == 'XX' and not isPresent then
    state.at = 'gone'
    return false
  end
  local reply = put(state, args[3], keeps and isPresent and state.pxat or pxat)
  if isAsked then return old end
  return reply
end

local function delete(operation)
  local count = 0
  for _, position in ipairs(operation[3]) do
    local key = operation[2][position + 1]
    local state = states[key]
    if not state then return nil end
    if isThere(key, state) then
      state.at, count = 'gone', count + 1
    end
  end
  return count
end

local function perform(operation)
  local kind = operation[1]
  if kind == 3 then return delete(operation) end
  local key = operation[2]
  if kind == 2 then return states[key] and put(states[key], operation[3], operation[4]) end
  if kind ~= 0 and kind ~= 1 and kind ~= 6 then return nil end
  local args = key
  local run, state = commands[args[1]], states[args[2] or '']
  return run and state and run(args, args[2], state)
end

-- Returns the reply as it is sent, and its bytes. Adds its type to `notes`, in the form of reply-shape.ts.
local function sentForm(reply, notes, part, position)
  if type(reply) == 'string' then return reply, #reply + ITEM end
  if type(reply) ~= 'table' then return reply, 2 * ITEM end
  notes[#notes + 1] = whole(part) .. '.' .. whole(position) .. 's'
  return reply.ok, #reply.ok + ITEM
end

local function recordOf(id, state)
  if state.at == 'inline' then return id .. '|s|' .. state.pxat .. '|' .. state.value end
  if state.at == 'gone' and state.wasThere ~= false then return id .. '|d' end
  return id .. '|k'
end

-- Returns { vote, records } as stage.lua does, or nil to leave the transaction to it. `prepare` is one of the round's.
return function(round, prepare)
  local memory = isFull and loadMemory()
  prepares, now, states = round.prepares, prepare[3], {}
  local id, keys, bound = idOf(prepare[1], prepare[2]), prepare[4], round.bounds[4]
  for _, key in ipairs(keys) do states[key] = { at = 'base', fingerprint = '' } end
  local outcomes, notes, bytes = {}, {}, 0
  for index, part in ipairs(prepare[5]) do
    if #part[1] > 0 then return nil end
    local replies = { 0 }
    bytes = bytes + 3 * ITEM
    for position, operation in ipairs(part[2]) do
      if memory and memory.refuses(operation) then
        return { vote = { 'e', 'OOM', memory.FAILURE, index - 1 }, records = {} }
      end
      local reply = perform(operation)
      if reply == nil then return nil end
      local sent, more = sentForm(reply, notes, index - 1, position)
      replies[position + 1], bytes = sent, bytes + more
    end
    if bytes > bound then return nil end
    outcomes[index] = replies
  end
  local fingerprints, records = {}, {}
  for index, key in ipairs(keys) do
    local state = states[key]
    fingerprints[index] = state.fingerprint
    records[#records + 1] = key
    records[#records + 1] = recordOf(id, state)
  end
  answered = answered + bytes
  return { vote = { 'y', outcomes, concat(notes, ' '), fingerprints }, records = records }
end
