-- Decides which keys of a command are staged by their elements (elements.lua).
--
-- Small collections and other commands pay for this text alone: a command that may address elements reads the length
-- of a collection that it is the first to change.
local isAddressed
do
  local typesByLetter = { h = 'hash', s = 'set', z = 'zset', l = 'list' }

  -- True if the key is staged by its elements from now on: it was already, or a command that addresses elements is the
  -- first to change it, and it is too large to be copied for that.
  local function isByElements(key, kind)
    local state = stateOf(key)
    if state.at == 'part' then return true end
    if state.at ~= 'base' or fingerprint(key, state) == 'absent' then return false end
    local length = kind and redis.pcall(lengths[kind], key)
    if type(length) ~= 'number' then
      kind = must('TYPE', key).ok
      length = lengths[kind] and must(lengths[kind], key) or 0
    end
    if length <= tx.elementsCopied then return false end
    elements = elements or loadElements()
    return elements.begin(key, state, kind, length)
  end

  -- True if a key of the command is staged by its elements, and the command addresses elements.
  function isAddressed(operation)
    local code, found = operation[6], false
    if type(code) ~= 'string' then return false end
    for _, position in ipairs(operation[3]) do
      if isByElements(operation[2][position + 1], typesByLetter[sub(code, 1, 1)]) then found = true end
    end
    for _, position in ipairs(operation[4]) do
      if stateOf(operation[2][position + 1]).at == 'part' then found = true end
    end
    return found
  end
end
