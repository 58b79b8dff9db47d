-- Limits the work of a user's script, in steps, and its memory, in bytes. Every function that it can call charges for
-- its work in advance, by sizes alone, so that all regions end it at the same point; the clock is only a last resort.
--
-- This text belongs to the module that sandbox.lua begins. It defines `spend` and `charge` for the other texts, and
-- the functions that lua-rewrite.ts writes into the text of a script.

local memory, heaviest = given.memory, 1
-- The steps left at the next reading of the clock, and the steps between two readings: few if steps are slow, and not
-- too few at first, because each reading is a command.
local FIRST, MOST = 64, 1000
local nextLook, stride = steps - FIRST, FIRST
-- A string of HEAVY bytes makes every later step cost more: comparing or converting it is one step of Lua.
local HEAVY = 1000000
for _, list in ipairs({ given.keys, given.arguments }) do
  for _, text in ipairs(list) do heaviest = math.max(heaviest, 1 + floor(#text / HEAVY)) end
end
-- The bytes that a step copies, and the overhead of a string in bytes.
local BYTES_PER_STEP, OVERHEAD = 1024, 24
local ITEM = 16

-- A step is about a tenth of a microsecond.
local function spend(count)
  steps = steps - count * heaviest
  if steps > nextLook then return end
  -- NaN is over the limit too.
  if not (steps >= 0) then
    stop('ERR the script goes on for too long: it takes more than ' .. given.steps .. ' steps')
  end
  stride = given.look(stop) < 5 and math.min(stride * 2, MOST) or math.max(floor(stride / 2), 1)
  nextLook = math.max(steps - stride, 0)
end

-- Charges for bytes that are about to be allocated, or have just been.
function charge(bytes)
  memory = memory - bytes
  if not (memory >= 0) then
    stop('ERR the script takes too much memory: it makes more than ' .. given.memory .. ' bytes of texts and tables')
  end
  if bytes >= HEAVY then heaviest = math.max(heaviest, 1 + floor(bytes / HEAVY)) end
  spend(1 + floor(bytes / BYTES_PER_STEP))
end

-- Called at each pass of a loop, with the steps and bytes of one pass.
local function step(count, bytes)
  memory = memory - bytes
  steps = steps - count * heaviest
  if memory < 0 then charge(0) end
  -- The number of these calls depends on the clock, so they must cost nothing.
  if steps <= nextLook then spend(0) end
end

-- Returns whether a coroutine runs; nil until the script creates one. Each has its own stack, and keeps it while it is
-- suspended.
local running

-- Called at the start of a function, which takes `frame` bytes of a stack.
local function enter(count, bytes, frame)
  if running and running() then bytes = bytes + frame end
  return step(count, bytes)
end

-- The same for a function with any number of arguments, which all stay on the stack.
local function enterWith(count, bytes, frame, ...)
  local values = select('#', ...)
  return enter(count + floor(values / ITEM), bytes + values * ITEM, frame)
end

-- The same for a function that gets its arguments as a table as well: Lua does so if it does not use `...`.
local function enterWithTable(count, bytes, frame, values)
  return enter(count + floor(values.n / ITEM), bytes + values.n * 2 * ITEM, frame)
end

-- Charges for a string that is compared: the server's locale does it, at a cost that grows with the length.
local function compared(value)
  if type(value) == 'string' and #value > 64 then spend(floor(#value / 64)) end
  return value
end

-- Counts a string that operators have made.
local function joined(value)
  if type(value) ~= 'string' then return value end
  local size = #value
  memory = memory - size - OVERHEAD
  if size > BYTES_PER_STEP or memory < 0 then
    memory = memory + size
    charge(size)
  end
  return value
end

-- Counts the items of a table if the script's text does not show their number.
local function counted(items)
  local size = #items
  if size > 4 then charge(size * ITEM) end
  return items
end

-- Returns the memory of a server's reply, in bytes.
local function sizeOf(reply)
  if type(reply) == 'string' then return #reply + OVERHEAD end
  if type(reply) ~= 'table' then return ITEM end
  local size = 4 * ITEM
  for _, item in ipairs(reply) do size = size + ITEM + sizeOf(item) end
  return size
end

function charged(reply)
  if type(reply) == 'string' then return joined(reply) end
  if type(reply) == 'table' then charge(sizeOf(reply)) end
  return reply
end

-- A field of its metatable makes a table weak: it loses items that nothing else refers to.
local WEAK = 'a table that loses what nobody else holds is not supported: when it does so differs between regions'
local function weak() complain(WEAK) end

-- Checks the key of an assignment, and returns it.
local function keyed(key)
  if key == '__mode' then complain(WEAK) end
  return key
end

-- Prevents a tail call, which would lose the place of its caller.
local function placed(...) return ... end

local function notRead() stop('ERR the script is not supported: its text could not be read as Lua 5.1') end

-- Returns the results of a protected call of a function of the server, or raises its error in the script's name.
local function finished(name, isDone, ...)
  if isDone then return ... end
  complain((string.gsub(tostring((...)), "'%?'", "'" .. name .. "'")), 2)
end

-- Raises the server's own error for arguments that its function does not accept.
local function asNative(name, own, ...)
  finished(name, pcall(own, ...))
  complain('bad arguments to ' .. name, 2)
end
