-- The lease that a round grants. round.lua has its form. The value of LEASE is its expiry by the region's clock, in ms.
--
-- Guarantees: a lease never outlives the reading that it answers by more than its length, and is never shortened.

-- `expiry` is that of the present lease, 0 without one.
local function grantLease(region, round, expiry)
  local lease = round.lease
  if not lease or lease[1] < 0 or not round.isVoter then return end
  if round.epoch < region.epoch or round.incarnation < region.incarnation then return end
  local ends = lease[1] + lease[2]
  if ends > clock() and ends > expiry then must('SET', LEASE, whole(ends), 'PXAT', whole(ends)) end
end
