-- Bounds the time of slow commands in a round, by the region's clock. HEAVY, defined before this text, names the
-- commands whose work grows with the values of their keys. A round without them never reads the clock.
--
-- This text is a module: lua-bundle.ts makes it a function's body. `watch` raises an error if a vote would be late.
local module = {}

-- The times in ms by which the last transaction of the round has to begin, and by which votes have to be sent.
local beginBy, voteBy
local hasScripts = false

-- Called before slow work. Returns the time in ms if it has read the clock, so that its caller need not.
function module.begin(isScript)
  hasScripts = hasScripts or isScript == true
  if beginBy then return nil end
  local now = moment()
  beginBy, voteBy = now + tx.stagingMs, now + tx.voteMs
  return now
end

-- True if transactions that have not begun have to wait for a later round.
function module.isLate() return beginBy ~= nil and moment() > beginBy end

-- The same for a part of a transaction. Only with scripts does the next attempt have fewer parts per transaction.
function module.isLateForParts() return hasScripts and module.isLate() end

-- Ends the staging of a transaction whose vote would be late: no other region waits for it, and it would block this
-- one.
function module.watch(name)
  if not isNamed(HEAVY, name) then return end
  if not beginBy then return module.begin() end
  if moment() <= voteBy then return end
  tx.isEndless = true
  error('takes longer to stage than a vote may', 0)
end

return module
