-- Grants the lease that a round asks for, in the form of round.lua. The value of LEASE is its expiry by the region's
-- clock, in ms. Whether a reader needs a lease is for snapshot.lua and read.lua to judge.
--
-- Guarantees: a lease ends no later than its length after the reading of the clock that it is for, and is never
-- shortened.

-- Grants the round's lease, if it has one and its sender is not fenced. `expiry` is that of the present lease in ms, 0
-- without one. Raises an error of the server.
local function grantLease(region, round, expiry)
  local lease = round.lease
  if not lease or lease[1] < 0 or not round.isVoter then return end
  if round.epoch < region.epoch or round.incarnation < region.incarnation then return end
  local ends = lease[1] + lease[2]
  if ends > clock() and ends > expiry then must('SET', LEASE, whole(ends), 'PXAT', whole(ends)) end
end
