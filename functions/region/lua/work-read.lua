-- Estimates the work of a command of a snapshot (work.lua). `excess` returns the error of one that takes too much, or
-- nil; `hasWorked` returns whether much was done since its last call that returned true; `boundScan` bounds the work
-- of one step of a scan.
local excess, hasWorked, boundScan
do

local MUCH_WORK = 200000
local work
local taken = 0

local function ask(command, ...)
  local reply = redis.pcall(command, ...)
  return type(reply) == 'number' and reply or 0
end

local function kindOf(key) return must('TYPE', key).ok end

-- Reduces the COUNT of a scan, which is a hint; `first` is the position of its options.
function boundScan(arguments, first)
  for index = first, #arguments - 1 do
    local isCount = string.upper(arguments[index]) == 'COUNT' and (tonumber(arguments[index + 1]) or 0) > MOST_SCANNED
    if isCount then arguments[index + 1] = whole(MOST_SCANNED) end
  end
end

-- True for scans and draws of a few elements: a snapshot does not sort them, so they are small work.
local function isSlice(arguments)
  if match(arguments[1], '^%uSCAN$') then
    boundScan(arguments, 4)
    return true
  end
  return match(arguments[1], '^%u+RAND%u+$') ~= nil and (tonumber(arguments[3] or '1') or 0) < 10000
end

function excess(arguments)
  if not isNamed(MEASURED, arguments[1]) or isSlice(arguments) then return nil end
  work = work or loadWork(ask, kindOf, 1)
  local steps, failure = work(arguments)
  taken = taken + steps
  return failure
end

function hasWorked()
  if taken < MUCH_WORK then return false end
  taken = 0
  return true
end

end
