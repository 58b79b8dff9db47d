import type { Mutant } from './mutants.ts';

/** R46 and R47: the data that a coordinator keeps, and how it makes room. */

const pruner = 'functions/coordinator/storage/pruner.ts';

export const storageMutants: readonly Mutant[] = [
  {
    rule: 'R19',
    name: 'forgets-the-clock-of-a-late-refusal',
    patches: [
      {
        file: 'shared/protocol/io/ready-builder.ts',
        find: "this.persist({ kind: 'clock', now: this.now });",
        replace: '',
      },
    ],
    runner: 'storage',
    seeds: [1, 60],
  },
  {
    rule: 'R46',
    name: 'forgets-keys-with-the-log',
    patches: [
      {
        file: pruner,
        find: 'this.#answers.drop(now - limits.keysGraceMs',
        replace: 'this.#answers.drop(this.#log.first > 1 ? 1e15 : now - limits.keysGraceMs',
      },
    ],
    runner: 'storage',
    seeds: [1, 60],
  },
  {
    rule: 'R46',
    name: 'forgets-keys-before-their-time',
    patches: [{ file: pruner, find: 'now - limits.keysGraceMs', replace: 'now + 3_500_000' }],
    runner: 'storage',
    seeds: [1, 60],
  },
  {
    rule: 'R46',
    name: 'promises-less-than-an-hour',
    patches: [
      {
        file: 'shared/protocol/io/room.ts',
        find: 'Math.floor(keysKeptMsMinimum + spanMs',
        replace: 'Math.floor(1 + (keysKeptMsMinimum + spanMs)',
      },
    ],
    runner: 'storage',
    seeds: [1, 60],
  },
  {
    rule: 'R47',
    name: 'accepts-writes-until-the-platform-refuses',
    patches: [
      {
        file: 'shared/protocol/io/room.ts',
        find: 'isFull: percent >= 100',
        replace: 'isFull: false',
      },
      {
        file: 'shared/protocol/io/room.ts',
        find: 'keysKeptMs: percent >= keysRefusedPercent ? 0 : promisedMs',
        replace: 'keysKeptMs: promisedMs',
      },
    ],
    runner: 'storage',
    seeds: [1, 60],
  },
];
