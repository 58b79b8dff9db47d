import type { Mutant } from './mutants.ts';

/** R13 to R16, R21 to R24 and R27, in the model of a region that the simulation runs; the Lua is held to the same claims. */

const model = 'test/region/model.ts';
const shard = 'test/region/shard-model.ts';
const staging = 'test/region/staging.ts';

export const regionMutants: readonly Mutant[] = [
  {
    rule: 'R13',
    name: 'accepts-prepares-of-dead-instances',
    patches: [
      {
        file: shard,
        find: "if (transaction[0] < head.incarnation) return { kind: 'fenced', by: 'incarnation' };",
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 50],
  },
  {
    rule: 'R14',
    name: 'prepares-settled-transactions',
    patches: [
      {
        file: shard,
        find: "if (this.#settled.has(nameOf(transaction))) return { kind: 'late' };",
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 50],
  },
  {
    rule: 'R14',
    name: 'prepares-below-the-watermark',
    patches: [
      {
        file: shard,
        find: "if (compareOrder(transaction, head.lowWatermark) <= 0) return { kind: 'late' };",
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 50],
  },
  {
    rule: 'R14',
    name: 'forgets-aborts-that-arrive-first',
    patches: [
      {
        file: shard,
        find: "if (decision.outcome === 'commit') return 'lost';\n    this.#settled.set(nameOf(transaction), transaction);",
        replace: "if (decision.outcome === 'commit') return 'lost';",
      },
    ],
    runner: 'simulation',
    seeds: [22, 500],
  },
  {
    rule: 'R14',
    name: 'forgets-commits-that-a-reader-applied',
    patches: [
      {
        file: model,
        find: 'this.#apply(decision, shard, clock);\n      }',
        replace:
          'this.#apply(decision, shard, clock);\n        shard.forgetSettled(transaction);\n      }',
      },
    ],
    runner: 'simulation',
    seeds: [20, 100],
  },
  {
    rule: 'R15',
    name: 'applies-commits-that-it-does-not-hold',
    patches: [
      {
        file: shard,
        find: 'const count = this.countLocked(transaction, keys);',
        replace: 'const count = keys.filter((key) => this.#locks.has(key)).length;',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R15',
    name: 'treats-a-repeated-commit-as-a-loss',
    patches: [
      {
        file: shard,
        find: "if (this.#settled.has(nameOf(transaction))) return 'acknowledged';",
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R15',
    name: 'applies-a-decision-in-part',
    patches: [
      {
        file: model,
        find: "this.#apply(decision, shard, clock);\n    return 'acknowledged';",
        replace:
          "this.#apply({ ...decision, keys: decision.keys.slice(0, 1) }, shard, clock);\n    return 'acknowledged';",
      },
    ],
    runner: 'simulation',
    seeds: [1, 10],
  },
  {
    rule: 'R21',
    name: 'releases-locks-of-dead-instances',
    patches: [
      {
        file: shard,
        find: 'if (holder[0] >= incarnation) continue;',
        replace: 'if (holder[0] >= incarnation) continue;\n      this.#locks.delete(key);',
      },
    ],
    runner: 'flushes',
    seeds: [10, 200],
  },
  {
    rule: 'R21',
    name: 'releases-locks-that-readers-meet',
    patches: [
      {
        file: shard,
        find: 'const lock = this.#locks.get(key);\n      return lock',
        replace:
          'const lock = this.#locks.get(key);\n      this.#locks.delete(key);\n      return lock',
      },
    ],
    runner: 'simulation',
    seeds: [1, 20],
  },
  {
    rule: 'R22',
    name: 'judges-staged-values-by-its-own-clock',
    patches: [
      {
        file: staging,
        find: 'entry.expiry <= this.#prepare.now',
        replace: 'entry.expiry < this.#base.clock',
      },
    ],
    runner: 'simulation',
    seeds: [91, 400],
  },
  {
    rule: 'R27',
    name: 'lets-staged-values-expire',
    patches: [
      {
        file: staging,
        find: 'if (staged !== undefined) return staged ?? undefined;',
        replace:
          'const isOver = (staged?.expiry ?? -1) !== -1 && (staged?.expiry ?? 0) < this.#base.clock;\n' +
          '    if (staged !== undefined) return isOver ? undefined : (staged ?? undefined);',
      },
    ],
    runner: 'expiries',
    seeds: [1, 20],
  },
  {
    rule: 'R24',
    name: 'draws-by-its-own-clock',
    patches: [{ file: staging, find: 'count, seed ?? 0)', replace: 'count, this.#base.clock)' }],
    runner: 'simulation',
    seeds: [182, 500],
  },
];
