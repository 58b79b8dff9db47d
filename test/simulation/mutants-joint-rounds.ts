import type { Mutant } from './mutants.ts';
import { mutant } from './mutants-members.ts';

/** R51 to R55: the scripts for several shards, beside the model of a region. */

const joint = 'functions/region/lua/shards/joint.lua';
const shares = 'functions/region/lua/shards/shares.lua';
const slots = 'functions/region/lua/shards/slots.lua';
const snapshot = 'functions/region/lua/shards/joint-snapshot.lua';

export const jointRoundMutants: readonly Mutant[] = [
  mutant(
    'R51',
    'stages-what-a-guest-objects-to',
    'joint',
    [1, 10],
    [
      joint,
      'local vote = objection(round.prepares[1], round, round.region, round.locks)',
      'local vote = index == 1 and objection(round.prepares[1], round, round.region, round.locks) or nil',
    ],
  ),
  mutant(
    'R51',
    'stages-after-a-decision-that-found-too-little',
    'joint',
    [1, 10],
    [joint, "if not match(round.said, '^a*$') then return { 'o', index - 1, 'decision' } end", ''],
  ),
  mutant(
    'R51',
    'takes-the-pair-of-home-for-those-of-all',
    'joint',
    [1, 40],
    [
      joint,
      '    rounds[index], asksLease = round,',
      '    if index > 1 then round.lastAcknowledged = 0 end\n    rounds[index], asksLease = round,',
    ],
  ),
  mutant(
    'R51',
    'locks-guests-under-the-order-of-home',
    'joint',
    [1, 10],
    [joint, 'idOf(shares[index][2], shares[index][3]), {}', 'idOf(shares[1][2], shares[1][3]), {}'],
  ),
  mutant(
    'R51',
    'stages-guests-under-the-names-of-home',
    'joint',
    [1, 20],
    [joint, 'byKey[key] = byKey[key] or prefixes[index]', 'byKey[key] = prefixes[1]'],
  ),
  mutant(
    'R52',
    'leaves-the-same-nonce-without-a-yes',
    'joint',
    [1, 10],
    [joint, 'outcomeOf(round.said, letter, nil)', "outcomeOf(round.said, 'y', nil)"],
  ),
  mutant(
    'R53',
    'applies-one-share-alone',
    'joint',
    [1, 10],
    [shares, 'if shares and isCommit then join(plan, shares) end', ''],
  ),
  mutant(
    'R53',
    'applies-other-shares-without-settling-them',
    'joint',
    [1, 40],
    [shares, 'addSettled(regions[shard], incarnation, sequence)\n', '\n'],
  ),
  mutant(
    'R54',
    'empties-the-slots-of-others',
    'joint',
    [42, 100],
    [slots, 'function(name) return isWithin(plan.ranges, name) end', 'function() return true end'],
  ),
  mutant(
    'R54',
    'loses-the-states-of-shards-without-a-share',
    'joint',
    [12, 100],
    [slots, 'if not isOwn(plan, name) then return true end', ''],
  ),
  mutant(
    'R55',
    'reads-with-the-lease-of-one-shard',
    'joint',
    [7, 40],
    [
      snapshot,
      'refusalBy(each, isStrong, isLeased)\n    if refusal',
      'refusalBy(each, isStrong, isLeased and index == 1)\n    if refusal',
    ],
  ),
  mutant(
    'R55',
    'meets-the-locks-of-one-shard',
    'joint',
    [1, 10],
    [
      snapshot,
      'ipairs(locksIn(each, readsAll and settlesNothing))',
      'ipairs(index == 1 and locksIn(each, readsAll and settlesNothing) or {})',
    ],
  ),
];
