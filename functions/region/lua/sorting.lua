-- Sorts replies that Redis gives no order: every region has to give them the same one.
--
-- Guarantees: an order by bytes, under any locale of the server.

-- True if `a` comes before `b` by bytes. Lua's own `<` depends on the server's locale.
local function before(a, b)
  if a == b then return false end
  local index = 1
  while true do
    local a1, a2, a3, a4 = byte(a, index, index + 3)
    local b1, b2, b3, b4 = byte(b, index, index + 3)
    if a1 ~= b1 then return (a1 or -1) < (b1 or -1) end
    if a2 ~= b2 then return (a2 or -1) < (b2 or -1) end
    if a3 ~= b3 then return (a3 or -1) < (b3 or -1) end
    if a4 ~= b4 then return (a4 or -1) < (b4 or -1) end
    index = index + 4
  end
end

-- Sorts strings by bytes, in place, and returns them: by Lua's fast order, which is right in most locales, and by the
-- slow one if that has failed.
local function sortByBytes(items)
  table.sort(items)
  for index = 2, #items do
    if before(items[index], items[index - 1]) then
      table.sort(items, before)
      return items
    end
  end
  return items
end

-- The orders of an operation, which round.lua lists.
local MEMBERS, PAIRS, EXACT_VALUE, EXACT_FIELD = 1, 2, 3, 4

-- Sorts a flat list of (field, value) by field.
local function sortedPairs(flat)
  local fields, values = {}, {}
  for index = 1, #flat, 2 do
    insert(fields, flat[index])
    values[flat[index]] = flat[index + 1]
  end
  local sorted = {}
  for _, field in ipairs(sortByBytes(fields)) do
    insert(sorted, field)
    insert(sorted, values[field])
  end
  return sorted
end

-- Sorts a reply by the order of its operation; an error or a reply that has an order stays as it is.
local function ordered(reply, order)
  if type(reply) ~= 'table' or reply.err or reply.ok then return reply end
  if order == MEMBERS then return sortByBytes(reply) end
  if order == PAIRS then return sortedPairs(reply) end
  return reply
end
