import type { Mutant } from './mutants.ts';
import type { Patch } from './mutation.ts';

/** R30 to R33 and R38 to R40, and the coordinator's half of R16, in the core and in the model of a region that the simulation runs. */

const members = 'shared/protocol/membership/members.ts';
const roster = 'shared/protocol/membership/roster.ts';
const missed = 'shared/protocol/membership/missed-writes.ts';
const evictions = 'shared/protocol/membership/evictions.ts';
const enough = 'shared/protocol/membership/enough-voters.ts';
const returns = 'shared/protocol/membership/rejoin.ts';
const link = 'shared/protocol/regions/region-link.ts';
const links = 'shared/protocol/regions/region-links.ts';
const refusals = 'shared/protocol/regions/server-refusals.ts';
const lease = 'shared/protocol/regions/lease.ts';
const lookups = 'shared/protocol/handlers/coordinator-reads.ts';
const deciding = 'shared/protocol/handlers/transaction-manager.ts';
const model = 'test/region/model.ts';

/** A mutant by its places, each with the text that it replaces and the replacement. */
export function mutant(
  rule: Mutant['rule'],
  name: string,
  runner: Mutant['runner'],
  seeds: Mutant['seeds'],
  ...patches: readonly (readonly [file: string, find: string, replace: string])[]
): Mutant {
  const all = patches.map(([file, find, replace]): Patch => ({ file, find, replace }));
  return { rule, name, patches: all, runner, seeds };
}

export const memberMutants: readonly Mutant[] = [
  mutant(
    'R16',
    'leaves-the-same-pair-for-another-outcome',
    'late',
    [1, 10],
    [
      'test/region/region-head.ts',
      'if (isWhole) return head;',
      'if (isWhole || failed.length < 2) return head;',
    ],
  ),
  mutant(
    'R16',
    'names-no-pair',
    'reads',
    [1, 110],
    [link, 'lastAcknowledged: this.pair,', 'lastAcknowledged: null,'],
  ),
  mutant(
    'R16',
    'stores-no-pair',
    'members',
    [50, 200],
    [
      link,
      'return { region, generation, former, begun, takes, agreed, pair, membership };',
      'return { region, generation, former, begun, takes, agreed, pair: pair && null, membership };',
    ],
  ),
  mutant(
    'R16',
    'stores-pairs-seldom',
    'members',
    [41, 80],
    [
      link,
      'const due = moved >= (writing ? 1 : limits.pairStoredEveryRounds);',
      'const due = moved >= 100;',
    ],
  ),
  // The pair that the next round names finds it as well.
  mutant(
    'R16',
    'overlooks-rewritten-histories',
    'members',
    [1, 60],
    [
      'shared/protocol/regions/round-history.ts',
      'return known !== undefined && known !== nonce;',
      'return known === null && known !== nonce;',
    ],
    [link, 'lastAcknowledged: this.pair,', 'lastAcknowledged: null,'],
  ),
  mutant(
    'R16',
    'treats-a-loss-as-silence',
    'members',
    [1, 40],
    [
      links,
      "        link.recover();\n        return { kind: 'lost', reason: 'it no longer holds a round that it had acknowledged' };",
      "        link.fail('lost', this.#ready.now, sentAt);\n        return null;",
    ],
  ),
  mutant(
    'R16',
    'forgets-a-loss',
    'members',
    [1, 20],
    [
      members,
      "{ cause: 'lost', detail, whole: true, manualReturn: false }",
      "{ cause: 'lost', detail, whole: false, manualReturn: false }",
    ],
  ),
  mutant(
    'R30',
    'renews-from-the-time-of-sending',
    'members',
    [1, 100],
    [
      lease,
      'return { reading: reading.clock, ttlMs };',
      'return { reading: reading.clock + now - reading.receivedAt, ttlMs };',
    ],
  ),
  mutant(
    'R30',
    'allows-for-no-drift',
    'copies',
    [20, 140],
    [lease, 'return this.#grantedUntil + limits.leaseDriftMs;', 'return this.#grantedUntil;'],
  ),
  mutant(
    'R30',
    'renews-without-proof',
    'reads',
    [100, 200],
    [links, 'if (round.lease !== null && round.lease.reading !== null) this.#ready.prove();', ''],
  ),
  mutant(
    'R30',
    'ignores-older-leases',
    'members',
    [20, 140],
    [lease, 'this.#grantedUntil = now + limits.leaseTtlMs;', 'this.#grantedUntil = now;'],
  ),
  mutant(
    'R30',
    'reads-without-a-lease',
    'members',
    [1, 100],
    [model, '(leased && lease < this.#clock())', '(leased && lease < 0)'],
  ),
  mutant(
    'R31',
    'counts-votes-of-lost-regions',
    'outage',
    [1, 8],
    [
      link,
      'return this.isVoter && this.leaving?.whole === true;',
      'return this.isVoter && this.leaving === undefined;',
    ],
  ),
  mutant(
    'R31',
    'evicts-no-region',
    'outage',
    [1, 20],
    [evictions, 'return health.since + config.outAfterMs <= now;', 'return health.since < 0;'],
  ),
  mutant(
    'R31',
    'keeps-regions-that-refuse',
    'outage',
    [1, 40],
    [
      evictions,
      "this.#members.suspect(link, { cause: 'refusing'",
      "void (link, { cause: 'refusing'",
    ],
  ),
  mutant(
    'R31',
    'evicts-all-that-refuse',
    'outage',
    [1, 40],
    [evictions, 'if (!isEnough) link.refusals.countFrom(ready.now);', ''],
    [enough, 'if (others.length >= Math.max(1, minVoters)) return [];', 'if (true) return [];'],
  ),
  mutant(
    'R31',
    'ends-refusals-by-writes-that-take-no-memory',
    'outage',
    [4, 40],
    [refusals, '? isFull === false : hasWritten', '? hasWritten : hasWritten'],
  ),
  mutant(
    'R31',
    'copies-to-full-regions',
    'outage',
    [1, 40],
    [
      returns,
      'isFull ? Math.max(copyAfter, fullSince + limits.fullCopyPauseMs) : copyAfter',
      'copyAfter',
    ],
  ),
  mutant(
    'R32',
    'waits-for-no-lease',
    'members',
    [1, 150],
    // The check of those that stay is asked for no sooner than that, so it would wait as well.
    [evictions, 'if (leasesEndAt > ready.now) return;', ''],
    [evictions, 'Math.max(leasesEndAt, ...this.#suspectedAt', 'Math.max(...this.#suspectedAt'],
  ),
  mutant(
    'R32',
    'skips-the-check-of-regions-that-stay',
    'members',
    [65, 180],
    [
      evictions,
      "(link) => link.health.kind === 'answering' && link.lossCheck.hasPassed(since)",
      "(link) => link.health.kind === 'answering'",
    ],
  ),
  mutant(
    'R32',
    'lets-no-region-stay-for-another',
    'outage',
    [1, 20],
    [
      evictions,
      'else if (willing.length < due.length && willing.length > 0) {',
      'else if (willing.length < 0) {',
    ],
  ),
  mutant(
    'R32',
    'evicts-the-last-voter',
    'outage',
    [1, 20],
    [
      evictions,
      'if (staying.length > 0) this.#evictIfSafe(due, staying);',
      'if (due.length > 0) this.#evictIfSafe(due, staying);',
    ],
  ),
  mutant(
    'R33',
    'notes-no-keys-of-decisions',
    'members',
    [1, 30],
    [
      missed,
      'for (const { missed } of absent) for (const key of named) missed.set(key, sequence);\n    return absent.map(({ region }) => region);',
      'return absent.slice(0, 0).map(({ region }) => region);',
    ],
  ),
  mutant(
    'R33',
    'keeps-missed-keys-in-memory',
    'members',
    [1, 60],
    [
      missed,
      'return absent.map(({ region }) => region);',
      'return absent.slice(0, 0).map(({ region }) => region);',
    ],
  ),
  mutant(
    'R33',
    'notes-no-keys-with-the-eviction',
    'members',
    [172, 210],
    [members, 'else this.addMissed(link, missed);', ''],
  ),
  mutant(
    'R33',
    'records-missed-keys-without-bound',
    'members',
    [20, 150],
    [
      missed,
      '(size > missedKeysPerRegion || bytes > missedBytesPerRegion)',
      '(size < 0 || bytes < 0)',
    ],
  ),
  mutant(
    'R38',
    'decides-with-too-few-voters',
    'members',
    [1, 50],
    [
      enough,
      'if (voters.length >= minVoters) return null;',
      'if (voters.length >= 0) return null;',
    ],
  ),
  mutant(
    'R38',
    'refuses-nothing-with-too-few-voters',
    'outage',
    [1, 20],
    [
      enough,
      'if (voters.length >= minVoters) return null;',
      'if (voters.length >= 0) return null;',
    ],
  ),
  mutant(
    'R38',
    'keeps-writes-waiting-if-all-have-lost',
    'outage',
    [1, 20],
    [
      enough,
      'if (voters.length > 0 && voters.every((link) => link.isQuarantined)) {',
      'if (voters.length === 0) {',
    ],
  ),
  mutant(
    'R38',
    'copies-over-a-force-recovered-region',
    'outage',
    [1, 20],
    [
      returns,
      'const whole = membership.whole && !isForceRecovered(link);',
      'const whole = membership.whole;',
    ],
  ),
  mutant(
    'R39',
    'keeps-diverged-regions',
    'divergence',
    [1, 20],
    [deciding, 'if (link !== null) members.suspect(link, leaving);', ''],
  ),
  mutant(
    'R39',
    'copies-diverged-regions-in-part',
    'divergence',
    [1, 20],
    [
      deciding,
      "{ cause: 'diverged', detail, whole: true, manualReturn: false }",
      "{ cause: 'diverged', detail, whole: false, manualReturn: false }",
    ],
  ),
  mutant(
    'R39',
    'trusts-the-minority',
    'divergence',
    [1, 20],
    [
      'shared/protocol/transactions/agreement.ts',
      'saying(vote) !== majority[0]',
      'saying(vote) === majority[0]',
    ],
  ),
  mutant(
    'R39',
    'blocks-nothing',
    'divergence',
    [1, 20],
    [
      'shared/protocol/membership/blocked-keys.ts',
      'for (const key of keys) this.#details.set(key, detail);',
      '',
    ],
  ),
  mutant(
    'R39',
    'forgets-blocked-keys',
    'divergence',
    [1, 20],
    [
      'shared/protocol/membership/blocked-keys.ts',
      'for (const { key, detail } of blocked) this.#details.set(key, detail);',
      '',
    ],
  ),
  mutant(
    'R39',
    'keeps-repaired-keys-blocked',
    'divergence',
    [1, 20],
    [evictions, '    blocked.remove(keys);', ''],
  ),
  mutant(
    'R40',
    'reads-without-proof',
    'reads',
    [1, 60],
    [
      'shared/protocol/io/ready-builder.ts',
      "if (reply.kind !== 'write') return true;",
      "if (reply.kind !== 'write') return reply.kind !== 'read';",
    ],
  ),
  mutant(
    'R40',
    'reads-unchecked',
    'reads',
    [1, 200],
    [lookups, 'lastAcknowledged: link.pair,', 'lastAcknowledged: null,'],
  ),
  mutant(
    'R30',
    'script-accepts-leases-of-older-epochs',
    'region',
    [44, 100],
    [
      'functions/region/lua/lease.lua',
      'if round.epoch < region.epoch or round.incarnation < region.incarnation then return end',
      '',
    ],
  ),
  mutant(
    'R30',
    'script-reads-without-a-lease',
    'region',
    [15, 50],
    [
      'functions/region/lua/reading.lua',
      "return region.phase == '' and (not isLeased or lease > 0)",
      "return region.phase == ''",
    ],
  ),
  mutant(
    'R30',
    'script-reads-short-values-without-a-lease',
    'region',
    [22, 100],
    ['functions/region/lua/read.lua', "(ARGV[3] == '1' and not found[2])", 'false'],
  ),
  mutant(
    'R40',
    'script-reads-during-a-copy',
    'region',
    [1, 100],
    [
      'functions/region/lua/reading.lua',
      "return region.phase == '' and (not isLeased",
      'return (not isLeased',
    ],
  ),
  mutant(
    'R40',
    'script-reads-short-values-that-are-copied',
    'region',
    [1, 100],
    ['functions/region/lua/read.lua', "phase ~= '' or (ARGV", '(ARGV'],
  ),
  mutant(
    'R38',
    'forgets-a-removed-region-in-its-lease',
    'changes',
    [1, 400],
    [roster, 'if (link.lease.endsAt <= ready.now) this.#forget(link);', 'this.#forget(link);'],
  ),
  mutant(
    'R38',
    'removes-a-force-recovered-region',
    'changes',
    [34, 60],
    [
      'shared/protocol/handlers/admin-commands.ts',
      'return (link.isVoter || isForceRecovered(link)) && isLast;',
      'return link.isVoter && isLast;',
    ],
  ),
];
