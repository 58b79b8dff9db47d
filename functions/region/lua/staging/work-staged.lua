-- Estimates the work of an operation of a round (work.lua) on the staged state of its keys. `excess` returns the error
-- of one that takes too much, or nil; `hasWorked` returns whether much was done since its last call that returned
-- true.
--
-- Regions may hold a key by its elements or whole. Its number of elements is the same in both.
local excess, hasWorked
do

local MUCH_WORK = 200000
local work
local taken = 0

-- Returns the name that a command would read; nothing is staged for it.
local function nameOf(key, state)
  if state.at == 'shadow' then return shadowName(tx.id, key) end
  if state.at == 'part' or (state.at == 'base' and fingerprint(key, state) ~= 'absent') then return key end
  return NOWHERE
end

local function ask(command, key, ...)
  local state = tx.states[key]
  if not state then return 0 end
  if state.at == 'inline' then return command == 'STRLEN' and #state.value or 0 end
  if state.at == 'part' and lengths[state.part.kind] == command then return elements.lengthOf(key, state.part) end
  local reply = redis.pcall(command, nameOf(key, state), ...)
  return type(reply) == 'number' and reply or 0
end

local function kindOf(key)
  local state = tx.states[key]
  return state and state.at ~= 'inline' and must('TYPE', nameOf(key, state)).ok or 'none'
end

-- The types that are slow to copy. Lists, streams and strings are copied in almost no time.
local COPIED = { hash = 'HLEN', set = 'SCARD', zset = 'ZCARD' }

-- Returns the number of elements that are copied before the command runs, each key once.
local function copiedFor(operation, name, written, read)
  if type(operation[6]) == 'string' then return 0 end
  local sum, isCopying, seen = 0, #written > 0 and isNamed(COPYING, name), {}
  for index = 1, #written + #read do
    local position = written[index] or read[index - #written]
    local key = operation[2][position + 1]
    local state = not seen[key] and tx.states[key]
    if state and (state.at == 'part' or (state.at == 'base' and isCopying and index <= #written)) then
      seen[key] = true
      local command = COPIED[kindOf(key)]
      sum = sum + (command and ask(command, key) or 0)
    end
  end
  return sum
end

-- True if a count, which is fast in Redis, is a scan because the key is staged by its elements.
local function isCounting(arguments)
  local state = arguments[1] == 'ZCOUNT' and tx.states[arguments[2]]
  return state and state.at == 'part'
end

local function measure(arguments, copied)
  local isMeasured = isNamed(MEASURED, arguments[1]) or isCounting(arguments)
  taken = taken + copied
  if not isMeasured and copied <= STEPS_PER_COMMAND then return nil end
  -- A pop of a few elements is small work: its words are enough to judge it.
  local isPop = isNamed(' LPOP RPOP ZPOPMIN ZPOPMAX ', arguments[1])
  if isPop and copied == 0 and (tonumber(arguments[3] or '1') or 1) <= 1000 then return nil end
  work = work or loadWork(ask, kindOf, 2)
  local steps, failure = work(arguments, copied)
  taken = taken + steps
  return failure
end

function excess(operation)
  local kind, arguments = operation[1], operation[2]
  -- SPOP has its key in place of its arguments.
  if kind == 4 then
    return measure({ 'SPOP', arguments }, copiedFor({ 4, { 'SPOP', arguments } }, 'SPOP', { 1 }, {}))
  end
  -- The kinds that write, read, deliver and store distances.
  if kind ~= 0 and kind ~= 1 and kind ~= 7 and kind ~= 15 then return nil end
  return measure(arguments, copiedFor(operation, arguments[1], operation[3], operation[4]))
end

function hasWorked()
  if taken < MUCH_WORK then return false end
  taken = 0
  return true
end

end
