import type { Mutant } from './mutants.ts';
import type { Patch } from './mutation.ts';

/** R1 to R12, R17 to R20 and R27: the core, and the storage and the sending that the simulation puts around it. */

const core = 'shared/protocol/coordinator.ts';
const deciding = 'shared/protocol/handlers/transaction-manager.ts';
const unacknowledged = 'shared/protocol/regions/unacknowledged.ts';
const agreement = 'shared/protocol/transactions/agreement.ts';
const link = 'shared/protocol/regions/region-link.ts';
const shard = 'test/region/shard-model.ts';

/** A region takes a lock that another transaction holds. */
const locksGiveWay: Patch = {
  file: shard,
  find: 'if (lock !== undefined) return { kind: ',
  replace: 'if (lock === null) return { kind: ',
};

export const coordinatorMutants: readonly Mutant[] = [
  {
    rule: 'R1',
    name: 'sends-before-it-has-stored',
    patches: [
      {
        file: 'test/simulation/instance.ts',
        find: 'this.#flushing = true;',
        replace: 'this.#flushing = true;\n    this.#perform(ready);',
      },
    ],
    runner: 'simulation',
    seeds: [1, 10],
  },
  {
    rule: 'R2',
    name: 'forgets-its-incarnation',
    patches: [
      {
        file: 'test/simulation/storage.ts',
        find: 'this.durable.incarnation += 1;\n    return this.durable.copy();',
        replace: 'const copy = this.durable.copy();\n    copy.incarnation += 1;\n    return copy;',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R3',
    name: 'leaves-older-locks',
    patches: [
      {
        file: 'shared/protocol/handlers/round-answers.ts',
        find: 'this.#parts.links.queueDecision(link, decision, { sequence: 0, bytes, urgent: false });',
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R3',
    name: 'treats-unknown-transactions-as-committed',
    patches: [
      {
        file: 'shared/protocol/transactions/resolution.ts',
        find: "return { kind: dropped ? 'forgotten' : 'aborted', transaction };",
        replace:
          "return dropped ? { kind: 'forgotten', transaction } : { kind: 'committed', transaction, keys: ['a'] };",
      },
    ],
    runner: 'simulation',
    seeds: [23, 200],
  },
  {
    rule: 'R4',
    name: 'counts-a-missing-vote-as-yes',
    patches: [
      {
        file: 'shared/protocol/transactions/tally.ts',
        find: "vote === 'no' || vote === 'missing'",
        replace: "vote === 'no'",
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R4',
    name: 'counts-a-no-as-yes',
    patches: [
      {
        file: 'shared/protocol/transactions/tally.ts',
        find: "vote === 'no' || vote === 'missing'",
        replace: "vote === 'missing'",
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R4',
    name: 'decides-on-a-single-vote',
    patches: [
      {
        file: 'shared/protocol/transactions/tally.ts',
        find: "if (vote === 'waiting') tally = 'pending';",
        replace: "if (vote === 'yes') return 'won';\n    tally = 'pending';",
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R5',
    name: 'compares-no-results',
    patches: [
      { file: agreement, find: 'compareOutcomes(votes, first, keys, partsOfKey) ??', replace: '' },
    ],
    runner: 'agreement',
    seeds: [1, 500],
  },
  {
    rule: 'R5',
    name: 'compares-no-bases',
    patches: [
      { file: agreement, find: 'compareBases(votes, keys, partsOfKey, latest) ??\n', replace: '' },
      {
        file: agreement,
        find: 'compareAttention(votes, keys, partsOfKey) ??\n',
        replace: '',
      },
    ],
    runner: 'agreement',
    seeds: [1, 500],
  },
  {
    rule: 'R5',
    name: 'treats-an-expiry-as-a-divergence',
    patches: [
      { file: agreement, find: 'compareBases(votes, keys, partsOfKey, latest) ??\n', replace: '' },
    ],
    runner: 'expiries',
    seeds: [140, 300],
  },
  {
    rule: 'R27',
    name: 'counts-lifetimes-from-arrivals',
    patches: [
      {
        file: 'shared/protocol/transactions/transaction.ts',
        find: 'parts: parts.map(({ frame: { checks',
        replace: 'parts: parts.map(({ arrivedAt, frame: { checks',
      },
      {
        file: 'shared/protocol/transactions/transaction.ts',
        find: 'operationAt(operation, now)',
        replace: 'operationAt(operation, arrivedAt)',
      },
    ],
    runner: 'expiries',
    seeds: [1, 20],
  },
  {
    rule: 'R6',
    name: 'forgets-rejections',
    patches: [
      {
        file: 'shared/protocol/transactions/decision.ts',
        find: "{ kind: 'reject', writes,",
        replace: "{ kind: 'reject', writes: [],",
      },
    ],
    runner: 'simulation',
    seeds: [1, 50],
  },
  {
    rule: 'R7',
    name: 'admits-a-frame-whose-key-is-locked',
    // The region's lock would make the second one wait all the same, so locks give way as well; with that alone the first
    // rule keeps every promise.
    patches: [
      {
        file: 'shared/protocol/handlers/write-intake.ts',
        find: 'const isFree = !isLocked && !this.#pendingWrites.queue.waitsFor(keys);',
        replace: 'const isFree = isLocked || !isLocked;',
      },
      locksGiveWay,
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R7',
    name: 'admits-the-newest-frame-first',
    patches: [
      {
        file: 'shared/protocol/transactions/admission.ts',
        find: 'return a.arrival < b.arrival;',
        replace: 'return a.arrival > b.arrival;',
      },
    ],
    runner: 'order',
    seeds: [1, 20],
  },
  {
    rule: 'R8',
    name: 'keeps-urgent-writes-waiting',
    patches: [{ file: deciding, find: '    this.#preempt();\n', replace: '' }],
    runner: 'order',
    seeds: [1, 10],
  },
  {
    rule: 'R9',
    name: 'lets-prepares-overtake-decisions',
    // A prepare that overtakes the commit before it meets that one's lock, so locks give way as well.
    patches: [
      {
        file: unacknowledged,
        find: 'const fits = bytes',
        replace: 'if (one.carried > 0) continue;\n      const fits = bytes',
      },
      locksGiveWay,
    ],
    runner: 'simulation',
    seeds: [1, 50],
  },
  {
    rule: 'R11',
    name: 'prepares-while-a-region-is-silent',
    patches: [
      {
        file: 'shared/protocol/regions/region-links.ts',
        find: "if (health.kind !== 'answering') faults",
        replace: "if (health.kind === 'lost') faults",
      },
    ],
    runner: 'gate',
    seeds: [1, 10],
  },
  {
    rule: 'R11',
    name: 'sends-work-with-its-probes',
    patches: [
      {
        file: link,
        find: "const speaks = this.isVoter && !this.isQuarantined && this.health.kind === 'answering';",
        replace: 'const speaks = this.isVoter && !this.isQuarantined;',
      },
    ],
    runner: 'gate',
    seeds: [1, 10],
  },
  {
    rule: 'R12',
    name: 'raises-the-watermark-before-older-locks-are-known',
    patches: [{ file: link, find: 'if (!this.#locksListed) return nothingSettled;', replace: '' }],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R12',
    name: 'raises-the-watermark-past-unacknowledged-decisions',
    patches: [
      {
        file: unacknowledged,
        find: 'if (oldest === null || compareOrder(order, oldest) < 0) oldest = order;',
        replace: 'if (oldest === order) oldest = order;',
      },
    ],
    runner: 'simulation',
    seeds: [1, 10],
  },
  {
    rule: 'R12',
    name: 'raises-the-watermark-past-undecided-transactions',
    patches: [
      {
        file: link,
        find: 'const undecided = head.oldestUndecided;',
        replace: 'const undecided = null as TransactionOrder | null;',
      },
    ],
    runner: 'simulation',
    seeds: [1, 10],
  },
  {
    rule: 'R17',
    name: 'answers-without-proof',
    patches: [
      {
        file: 'shared/protocol/io/ready-builder.ts',
        find: '(this.#mustProve || this.#replies.some(showsState))',
        replace: 'this.#mustProve',
      },
    ],
    runner: 'simulation',
    seeds: [60, 1000],
  },
  {
    rule: 'R18',
    name: 'stops-its-clock-while-it-is-ahead',
    patches: [
      {
        file: 'shared/protocol/io/clock.ts',
        find: 'this.#now + passed / 2',
        replace: 'this.#now',
      },
    ],
    runner: 'order',
    seeds: [1, 50],
  },
  {
    rule: 'R18',
    name: 'begins-before-its-stored-time',
    patches: [{ file: core, find: 'new Clock(now, stored.now)', replace: 'new Clock(now, now)' }],
    runner: 'order',
    seeds: [1, 50],
  },
  {
    rule: 'R18',
    name: 'follows-its-clock-back',
    patches: [
      {
        file: 'shared/protocol/io/clock.ts',
        find: 'this.#now = Math.max(given, this.#now + passed / 2);',
        replace: 'this.#now = given;',
      },
    ],
    runner: 'order',
    seeds: [1, 50],
  },
  {
    rule: 'R19',
    name: 'begins-after-not-after',
    patches: [
      {
        file: 'shared/protocol/handlers/write-intake.ts',
        find: 'if (notAfter <= this.#ready.now) {',
        replace: 'if (false) {',
      },
    ],
    runner: 'simulation',
    seeds: [1, 200],
  },
  {
    rule: 'R19',
    name: 'gives-up-attempts-under-way',
    patches: [
      {
        file: 'shared/protocol/transactions/pending-writes.ts',
        find: 'for (const write of this.queue.frames) {\n      this.noteObstacles',
        replace:
          'for (const write of this.#pending.values()) {\n      if (write.frame.notAfter <= now + 200) this.giveUp(write, [], tooLate);\n    }\n    for (const write of this.queue.frames) {\n      this.noteObstacles',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
];
