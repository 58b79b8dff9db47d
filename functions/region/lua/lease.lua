-- The lease that a round grants. round.lua has its form.
--
-- Guarantees: a lease never outlives the reading that it answers by more than its length, and is never shortened.
local function grantLease(meta, round)
  local lease = round.lease
  if not lease or lease[1] < 0 or not round.isVoter then return end
  if round.epoch < meta.epoch or round.incarnation < meta.incarnation then return end
  local expiry = lease[1] + lease[2]
  if expiry > clock() and expiry > must('PEXPIRETIME', LEASE) then must('SET', LEASE, '1', 'PXAT', whole(expiry)) end
end
