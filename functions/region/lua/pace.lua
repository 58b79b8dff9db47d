-- How long a round has been at what may take long, by the region's clock. HEAVY, which stands before this text, has the
-- names of commands whose work grows with the values of their keys. A round that has none of them never looks at the
-- clock.
local module = {}

-- When the last transaction of the round is to begin, and when nobody waits for its votes any more.
local beginBy, voteBy
local hasScripts = false

-- Called before what may take long.
function module.begin(isScript)
  hasScripts = hasScripts or isScript == true
  if beginBy then return end
  local now = moment()
  beginBy, voteBy = now + tx.longest, now + tx.voteMs
end

-- True if what has not begun yet is to wait for a later round.
function module.isLate() return beginBy ~= nil and moment() > beginBy end

-- The same for a part of a transaction. Only where there are scripts do fewer parts go together at the next attempt.
function module.isLateForParts() return hasScripts and module.isLate() end

-- Ends the staging of a transaction whose vote would be missed: no other region waits for it, and this one would do
-- nothing else meanwhile.
function module.watch(name)
  if not isNamed(HEAVY, name) then return end
  if not beginBy then return module.begin() end
  if moment() <= voteBy then return end
  tx.isEndless = true
  error('takes longer to stage than a vote may', 0)
end

return module
