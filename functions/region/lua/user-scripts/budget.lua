-- What a user's script may do and make, in steps and in bytes. All that it can call charges for its work before it does
-- it, by sizes alone, so that every region comes to the same end; the clock is looked at only as a last resort.
--
-- This text belongs to the module that sandbox.lua begins. It gives the others `spend` and `charge`, and the functions
-- that the text of a script calls, which lua-rewrite.ts writes into it.

local memory, heaviest = given.memory, 1
-- How many steps are left when the clock is looked at next, and how many lie between two looks: few where they take
-- long.
local nextLook, stride = steps, 1
-- A text of so many bytes makes every later step count for more: comparing or converting it is one step of Lua.
local HEAVY = 1000000
for _, list in ipairs({ given.keys, given.arguments }) do
  for _, text in ipairs(list) do heaviest = math.max(heaviest, 1 + floor(#text / HEAVY)) end
end
-- What is copied at the price of a step, and what a text takes besides its bytes.
local BYTES_PER_STEP, OVERHEAD = 1024, 24
local ITEM = 16

-- A step is about a tenth of a microsecond.
local function spend(count)
  steps = steps - count * heaviest
  if steps > nextLook then return end
  -- What is no number any more is no bound either.
  if not (steps >= 0) then
    stop('ERR the script goes on for too long: it takes more than ' .. given.steps .. ' steps')
  end
  stride = given.look(stop) < 5 and math.min(stride * 2, 100) or math.max(floor(stride / 2), 1)
  nextLook = math.max(steps - stride, 0)
end

-- Charges for bytes that are about to be made, or have just been.
function charge(bytes)
  memory = memory - bytes
  if not (memory >= 0) then
    stop('ERR the script takes too much memory: it makes more than ' .. given.memory .. ' bytes of texts and tables')
  end
  if bytes >= HEAVY then heaviest = math.max(heaviest, 1 + floor(bytes / HEAVY)) end
  spend(1 + floor(bytes / BYTES_PER_STEP))
end

-- Called wherever a script may come again and again, with what one time takes.
local function step(count, bytes)
  memory = memory - bytes
  steps = steps - count * heaviest
  if memory < 0 then charge(0) end
  -- How often that is depends on the clock, so it must not count for anything.
  if steps <= nextLook then spend(0) end
end

-- What tells whether a coroutine runs, once there is one. Each has a stack of its own, and keeps it while it waits.
local running

-- The same at the beginning of a function, which takes `frame` bytes of a stack.
local function enter(count, bytes, frame)
  if running and running() then bytes = bytes + frame end
  return step(count, bytes)
end

-- The same for a function that takes any number of arguments, and keeps them all.
local function enterWith(count, bytes, frame, ...)
  local values = select('#', ...)
  return enter(count + floor(values / ITEM), bytes + values * ITEM, frame)
end

-- The same for one that is given them as a table besides, as Lua does if it does not name them.
local function enterWithTable(count, bytes, frame, values)
  return enter(count + floor(values.n / ITEM), bytes + values.n * 2 * ITEM, frame)
end

-- A text that is put into an order by the server's locale, whose price grows with its length.
local function compared(value)
  if type(value) == 'string' and #value > 64 then spend(floor(#value / 64)) end
  return value
end

-- Counts a text that operators have made.
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

-- Counts the items of a table whose text does not show how many there are.
local function counted(items)
  local size = #items
  if size > 4 then charge(size * ITEM) end
  return items
end

-- What a reply of the server takes, in bytes.
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

-- A table that loses what nobody else holds, which a field of its metatable makes of it.
local WEAK = 'a table that loses what nobody else holds is not supported: when it does so differs between regions'
local function weak() complain(WEAK) end

-- The key of what a script assigns.
local function keyed(key)
  if key == '__mode' then complain(WEAK) end
  return key
end

-- A call in the last place of a function would hide where it was made; this one comes behind it.
local function placed(...) return ... end

local function notRead() stop('ERR the script is not supported: its text could not be read as Lua 5.1') end

-- What a protected call of one of the server's functions has come to: its results, or its error in the name of the
-- script.
local function finished(name, isDone, ...)
  if isDone then return ... end
  complain((string.gsub(tostring((...)), "'%?'", "'" .. name .. "'")), 2)
end

-- Raises what the server's own function says of arguments that it does not take.
local function asNative(name, own, ...)
  finished(name, pcall(own, ...))
  complain('bad arguments to ' .. name, 2)
end
