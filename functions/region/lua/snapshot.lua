-- Takes one snapshot: runs read commands in this region, as one atomic step. Commands that need no script follow it in
-- the same step (snapshots.ts); this script judges these too.
--
-- Guarantees: commits that a coordinator has confirmed are applied first, if all their locks are found, and otherwise
-- ignored; then the locks and the values belong to one moment. Runs as EVALSHA, never as its read-only form, which a
-- replica may answer.
--
-- ARGV[1]: a JSON text, written by encoding.ts:
--   [generation, isStrong, decisions, keys, commands, bound, isLeased, lastAcknowledged, inScript, lcsSteps, longest]
--   isStrong   0 skips the locks and the lease
--   isLeased   1 asks for a lease, if the snapshot is strong
--   lastAcknowledged   [counter, nonce], or 0
--   decision   as in round.lua; only commits are applied
--   command    [args]. SCAN, KEYS, RANDOMKEY and DBSIZE omit Lockstep's own keys, and report every lock if the snapshot
--              is strong and settles nothing.
--              ['EVAL_RO', sha, text, count of keys, key…, argument…] is a user's script that only reads; it reports
--              the locks of the keys that it touches. Commands that follow this script are not here.
--   bound      bytes of all replies together; an error takes the place of a reply that would pass it
--   inScript   nothing is read if all replies are known to have more bytes than this together, but no more than `bound`
--   lcsSteps   the product of the lengths that an LCS compares, summed over all of them
--   longest    ms after which no further command that may take long is run
--
-- Replies, read by decoding.ts:
--   {'q', replies, shape, {{key, incarnation, sequence}…}}   read; reply-shape.ts has the shape
--   {'g'}                                                     not read: more than `inScript` bytes
--   {'f', 'generation', has, keys}, {'f', 'lost'}, {'f', 'history'}, {'f', 'lease'}   refused whole
--   {'f', 'format', has}                                      refused whole: of a later release
--   {'x', text}                                               failed

-- The locks of `keys` and of those that scripts have touched; every lock if a command was about all keys, unless the
-- caller retries with commits to settle and has them already.
local function locksOf(keys, readsKeyspace)
  if readsKeyspace or touched.all then return everyLock(region) end
  local list = {}
  for _, key in ipairs(keys) do
    insert(list, key)
    touched.keys[key] = nil
  end
  for key in pairs(touched.keys) do insert(list, key) end
  return locksMet(region, list)
end

return answer(#ARGV[1], function()
  local given = decodeGiven(ARGV[1])
  local lease
  region, lease = readRegion(given[7] == 1)
  if laterFormat(region) then return laterFormat(region) end
  if not region or region.generation ~= given[1] then return refusedFor(region) end
  local loss = lossOf(region, given[8])
  if loss then return { 'f', loss } end
  if given[2] == 1 and not mayReadStrongly(region, given[7] == 1, lease) then return { 'f', 'lease' } end
  settle(region, given[3])
  local sizes, sum = measure(given[5])
  if sum and sum > given[9] and sum <= given[6] then return { 'g' } end
  lcsSteps = given[10]
  local replies = readAll(given[5], sizes, given[6], given[11])
  local isFirst = #given[3] == 0
  touched.all = touched.all and isFirst
  local met = given[2] == 1 and locksOf(given[4], isFirst and hasKeyspaceCommand(given[5])) or {}
  return { 'q', replies, concat(shape, ' '), met }
end)
