-- Decides which operations a server without memory still runs: the same as in Redis itself, because they may free
-- memory. GROWING and GROWING_GROUPS, defined before this text, name the commands that Redis refuses (growing.ts).
--
-- After a script has written, the server admits all that it does (base.lua), so the bound is checked here.
local module = { FAILURE = 'OOM out of memory' }

-- True if the server has no memory left now. Like Redis, it does not count memory that eviction cannot free.
function module.look()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then return false end
  local used, bound = match(info, 'used_memory:(%d+)'), match(info, 'maxmemory:(%d+)')
  if not used or not bound or tonumber(bound) == 0 then return false end
  return tonumber(used) - tonumber(match(info, 'mem_not_counted_for_evict:(%d+)') or 0) > tonumber(bound)
end

-- True if the operation is refused because there is no memory.
function module.refuses(operation)
  local kind, arguments = operation[1], operation[2]
  -- set, append and bits grow a value; of writes, trims and distances, only some do.
  if kind == 0 or kind == 14 or kind == 15 then
    local name = arguments[1]
    if name == 'XGROUP' then
      if not isNamed(GROWING_GROUPS, arguments[2]) then return false end
    elseif not isNamed(GROWING, name) then
      return false
    end
  elseif kind ~= 2 and kind ~= 6 and kind ~= 9 then
    return false
  end
  return isFull == true
end

return module
