import type { Mutant } from './mutants.ts';
import type { Patch } from './mutation.ts';

/** R30 to R40, and the coordinator's half of R16, in the core and in the model of a region that the simulation runs. */

const members = 'shared/protocol/members.ts';
const returns = 'shared/protocol/returns.ts';
const copy = 'shared/protocol/copy.ts';
const link = 'shared/protocol/region-link.ts';
const links = 'shared/protocol/region-links.ts';
const lease = 'shared/protocol/lease.ts';
const lookups = 'shared/protocol/lookups.ts';
const deciding = 'shared/protocol/deciding.ts';
const model = 'test/region/model.ts';
const meta = 'test/region/meta.ts';

function mutant(
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
  mutant('R16', 'names-no-pair', 'members', [1, 50], [link, 'seen: this.pair,', 'seen: null,']),
  mutant(
    'R16',
    'stores-no-pair',
    'members',
    [1, 200],
    [
      link,
      'return { region, generation, former, begun, pair, membership };',
      'return { region, generation, former, begun, pair: pair && null, membership };',
    ],
  ),
  mutant(
    'R16',
    'stores-pairs-seldom',
    'members',
    [1, 500],
    [
      link,
      'const due = moved >= (writing ? 1 : limits.pairStoredEveryRounds);',
      'const due = moved >= 100;',
    ],
  ),
  mutant(
    'R16',
    'overlooks-histories-written-anew',
    'members',
    [1, 500],
    [
      'shared/protocol/mark-history.ts',
      'return known !== undefined && known !== mark;',
      'return known === null && known !== mark;',
    ],
  ),
  mutant(
    'R16',
    'takes-a-loss-for-silence',
    'members',
    [1, 50],
    [
      links,
      "        link.recover();\n        return { kind: 'lost', reason: 'it no longer holds a round that it had acknowledged' };",
      "        link.fail('lost', this.#outbox.now, sentAt);\n        return null;",
    ],
  ),
  mutant(
    'R16',
    'forgets-a-loss',
    'members',
    [1, 100],
    [
      members,
      "{ cause: 'lost', detail, whole: true, held: false }",
      "{ cause: 'lost', detail, whole: false, held: false }",
    ],
  ),
  mutant(
    'R30',
    'renews-from-when-it-sends',
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
    'members',
    [1, 200],
    [lease, 'return this.#grantedUntil + limits.leaseDriftMs;', 'return this.#grantedUntil;'],
  ),
  mutant(
    'R30',
    'renews-without-proof',
    'members',
    [1, 500],
    [links, 'if (round.lease !== null && round.lease.reading !== null) this.#outbox.prove();', ''],
  ),
  mutant(
    'R30',
    'knows-of-no-older-leases',
    'members',
    [1, 200],
    [lease, 'this.#grantedUntil = now + limits.leaseTtlMs;', 'this.#grantedUntil = now;'],
  ),
  mutant(
    'R30',
    'reads-without-a-lease',
    'members',
    [1, 100],
    [model, '(leased && this.#lease < this.#clock())', '(leased && this.#lease < 0)'],
  ),
  mutant(
    'R31',
    'counts-votes-of-those-that-lost',
    'members',
    [1, 500],
    [
      link,
      'return this.isVoter && this.leaving?.whole === true;',
      'return this.isVoter && this.leaving === undefined;',
    ],
  ),
  mutant(
    'R32',
    'waits-for-no-lease',
    'members',
    [1, 50],
    [members, 'if (leasesEndAt > outbox.now) return;', ''],
  ),
  mutant(
    'R32',
    'asks-no-check-of-those-that-stay',
    'members',
    [1, 500],
    [
      members,
      "(link) => link.health.kind === 'answering' && link.hasPassedCheck(since)",
      "(link) => link.health.kind === 'answering'",
    ],
  ),
  mutant(
    'R32',
    'lets-nobody-stay-for-another',
    'outage',
    [1, 20],
    [
      members,
      'else if (willing.length < departing.length && willing.length > 0) {',
      'else if (willing.length < 0) {',
    ],
  ),
  mutant(
    'R33',
    'marks-nothing-that-is-decided',
    'members',
    [1, 20],
    [
      members,
      'for (const { missed } of absent) for (const key of keys) missed.set(key, sequence);\n    return absent.map(({ region }) => region);',
      'return absent.slice(0, 0).map(({ region }) => region);',
    ],
  ),
  mutant(
    'R33',
    'keeps-marks-in-memory',
    'members',
    [1, 100],
    [
      members,
      'return absent.map(({ region }) => region);',
      'return absent.slice(0, 0).map(({ region }) => region);',
    ],
  ),
  mutant(
    'R33',
    'marks-nothing-with-the-change',
    'members',
    [1, 100],
    [members, 'else this.mark(link, missed);', ''],
  ),
  mutant(
    'R33',
    'remembers-without-bound',
    'members',
    [1, 20],
    [
      members,
      'if (link.isVoter || link.missed.size <= limits.missedKeysPerRegion) continue;',
      'if (link.isVoter || link.missed.size >= 0) continue;',
    ],
  ),
  mutant(
    'R34',
    'keeps-locks-when-a-copy-begins',
    'members',
    [1, 100],
    [
      model,
      'this.#dropState();\n        this.#meta = { ...meta, phase',
      'this.#meta = { ...meta, phase',
    ],
  ),
  // A prepare from before the copy is fenced by its epoch and its incarnation as well.
  mutant(
    'R34',
    'keeps-the-floor-when-a-copy-begins',
    'members',
    [1, 500],
    [link, "if (this.membership.state === 'copying') return head.newest;", ''],
    [model, "if (round.epoch < meta.epoch) return { kind: 'fenced', by: 'epoch' };", ''],
    [
      model,
      "if (transaction[0] < meta.incarnation) return { kind: 'fenced', by: 'incarnation' };",
      '',
    ],
  ),
  // A step of an older copy is refused by its epoch as well.
  mutant(
    'R34',
    'copies-under-one-token',
    'members',
    [1, 500],
    [returns, 'const token = `', "const token = 'copy' || `"],
    [
      meta,
      'if (round.incarnation < meta.incarnation || round.epoch < meta.epoch) return',
      'if (round.epoch < 0) return',
    ],
  ),
  mutant(
    'R34',
    'copies-all-under-the-old-generation',
    'members',
    [1, 100],
    [returns, 'const isRenewed = membership.whole && link.begun;', 'const isRenewed = false;'],
  ),
  // Decisions ride with the round that reads, so that what it finds locked is undecided.
  mutant(
    'R35',
    'copies-what-is-locked',
    'members',
    [1, 200],
    [model, '(key) => this.#locks.has(key));', '() => false);'],
    [
      link,
      'const { decisions, bytes, whole } = speaks\n',
      'const { decisions, bytes, whole } = speaks && this.copyStep === null\n',
    ],
  ),
  mutant(
    'R35',
    'copies-unchecked',
    'members',
    [1, 1000],
    [link, 'seen: this.pair,', 'seen: copy === null ? this.pair : null,'],
  ),
  mutant(
    'R35',
    'takes-later-commits-for-copied',
    'members',
    [1, 100],
    [link, 'return mark !== undefined && mark <= noted;', 'return mark !== undefined;'],
  ),
  mutant(
    'R35',
    'leaves-what-the-source-lacks',
    'members',
    [1, 100],
    [
      copy,
      'const lists = this.#cursor === null && this.#listCursor !== null;',
      'const lists = false;',
    ],
    [
      copy,
      'const scanned = this.#cursor === null && this.#listCursor === null;',
      'const scanned = this.#cursor === null;',
    ],
  ),
  mutant(
    'R35',
    'goes-on-with-the-scan-of-another',
    'members',
    [1, 100],
    [
      copy,
      "    this.#cursor = '0';\n    this.#listCursor = '0';\n    this.#counted = 0;\n    this.#removable = [];",
      '    this.#counted = 0;',
    ],
  ),
  mutant(
    'R35',
    'misses-nothing-while-it-is-copied',
    'members',
    [1, 50],
    [
      members,
      "membership.state === 'out' ? !membership.whole : membership.state === 'copying'",
      "membership.state === 'out' && !membership.whole",
    ],
  ),
  mutant(
    'R36',
    'takes-late-copies',
    'members',
    [1, 500],
    [
      meta,
      "if (meta.phase === '' || step.token !== meta.phase) return 'token';\n      return step.number <= meta.copyNumber ? 'number' : null;",
      "if (meta.phase === '' || step.token !== meta.phase) return 'token';\n      return null;",
    ],
  ),
  // A step of an older copy is refused by its epoch as well.
  mutant(
    'R36',
    'takes-copies-of-another-token',
    'members',
    [1, 500],
    [
      meta,
      "if (meta.phase === '' || step.token !== meta.phase) return 'token';",
      "if (meta.phase === '') return 'token';",
    ],
    [
      meta,
      'if (round.incarnation < meta.incarnation || round.epoch < meta.epoch) return',
      'if (round.epoch < 0) return',
    ],
  ),
  mutant(
    'R36',
    'is-copied-for-ever',
    'members',
    [1, 20],
    [meta, "phase: role === 'voter' ? '' : meta.phase,", 'phase: meta.phase,'],
  ),
  mutant(
    'R37',
    'switches-in-the-midst-of-writes',
    'members',
    [1, 100],
    [returns, 'if (copy.isComplete && host.undecided === 0) {', 'if (copy.isComplete) {'],
  ),
  mutant(
    'R37',
    'votes-again-before-the-last-keys',
    'members',
    [1, 100],
    [copy, 'return this.nearsEnd && this.left === 0;', 'return this.nearsEnd;'],
  ),
  mutant(
    'R37',
    'holds-for-ever',
    'members',
    [1, 500],
    [returns, 'else if (copy.holdUntil <= now) {', 'else if (copy.holdUntil <= 0) {'],
  ),
  mutant(
    'R37',
    'votes-again-in-the-same-epoch',
    'members',
    [1, 20],
    [
      returns,
      'this.#copy = null;\n    state.epoch += 1;\n    target.lease.drop();',
      'this.#copy = null;\n    target.lease.drop();',
    ],
  ),
  mutant(
    'R38',
    'decides-with-too-few',
    'members',
    [1, 50],
    [
      members,
      'if (voters.length >= minVoters) return null;',
      'if (voters.length >= 0) return null;',
    ],
  ),
  mutant(
    'R40',
    'looks-without-proof',
    'members',
    [1, 1000],
    [
      'shared/protocol/outbox.ts',
      "if (reply.kind !== 'write') return true;",
      "if (reply.kind !== 'write') return reply.kind !== 'read';",
    ],
  ),
  mutant(
    'R40',
    'looks-unchecked',
    'members',
    [1, 1000],
    [lookups, 'seen: link.pair,', 'seen: null,'],
  ),
  mutant(
    'R40',
    'believes-whoever-voted-before',
    'members',
    [1, 1000],
    [
      lookups,
      'link.isVoter && !link.isMute && link.membership.since === since',
      'link.region !== null',
    ],
  ),
  mutant(
    'R31',
    'puts-nobody-out',
    'outage',
    [1, 20],
    [members, 'return health.since + config.outAfterMs <= now;', 'return health.since < 0;'],
  ),
  mutant(
    'R32',
    'puts-the-last-one-out',
    'outage',
    [1, 20],
    [
      members,
      'if (staying.length > 0) this.#mayDepart(departing, staying);',
      'if (departing.length > 0) this.#mayDepart(departing, staying);',
    ],
  ),
  mutant(
    'R38',
    'refuses-nothing-with-too-few',
    'outage',
    [1, 20],
    [
      members,
      'if (voters.length >= minVoters) return null;',
      'if (voters.length >= 0) return null;',
    ],
  ),
  mutant(
    'R38',
    'lets-writes-wait-where-all-have-lost',
    'outage',
    [1, 20],
    [
      members,
      'if (voters.length > 0 && voters.every((link) => link.isMute)) {',
      'if (voters.length === 0) {',
    ],
  ),
  mutant(
    'R38',
    'copies-over-whom-it-believes',
    'outage',
    [1, 20],
    [returns, 'const whole = membership.whole && !isBelieved;', 'const whole = membership.whole;'],
  ),
  mutant(
    'R39',
    'keeps-those-that-diverged',
    'divergence',
    [1, 20],
    [deciding, 'if (link !== null) members.suspect(link, leaving);', ''],
  ),
  mutant(
    'R39',
    'copies-those-that-diverged-in-part',
    'divergence',
    [1, 20],
    [
      deciding,
      "{ cause: 'diverged', detail, whole: true, held: false }",
      "{ cause: 'diverged', detail, whole: false, held: false }",
    ],
  ),
  mutant(
    'R39',
    'believes-the-minority',
    'divergence',
    [1, 20],
    [
      'shared/protocol/agreement.ts',
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
      'shared/protocol/blocked-keys.ts',
      'for (const key of keys) this.#details.set(key, detail);',
      '',
    ],
  ),
  mutant(
    'R39',
    'forgets-what-is-blocked',
    'divergence',
    [1, 20],
    [
      'shared/protocol/blocked-keys.ts',
      'for (const { key, detail } of blocked) this.#details.set(key, detail);',
      '',
    ],
  ),
  mutant(
    'R39',
    'keeps-blocked-what-is-repaired',
    'divergence',
    [1, 20],
    ['shared/protocol/orders.ts', 'blocked.remove(keys.map(({ key }) => key));', ''],
  ),
];
