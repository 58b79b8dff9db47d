import type { Mutant } from './mutants.ts';

/** Faults that break no promise by themselves for a long time: the invariants alone notice them, in the step that errs. */
export const invariantMutants: readonly Mutant[] = [
  {
    rule: 'R7',
    name: 'counts-the-bytes-of-frames-that-left-the-queue',
    patches: [
      {
        file: 'shared/protocol/transactions/admission.ts',
        find: 'this.#bytes += by * write.frame.bytes;',
        replace: 'this.#bytes += write.frame.bytes;',
      },
    ],
    runner: 'simulation',
    seeds: [1, 5],
  },
  {
    rule: 'R7',
    name: 'counts-the-bytes-of-frames-that-are-answered',
    patches: [
      {
        file: 'shared/protocol/transactions/pending-writes.ts',
        find: 'this.#pendingBytes -= admittedBytes;',
        replace: '',
      },
    ],
    runner: 'simulation',
    seeds: [1, 5],
  },
  {
    rule: 'R20',
    name: 'probes-one-region-too-many',
    patches: [
      {
        file: 'shared/protocol/regions/schedule.ts',
        find: 'probes < limits.probesInFlight',
        replace: 'probes <= limits.probesInFlight',
      },
    ],
    runner: 'outage',
    seeds: [1, 40],
  },
  {
    rule: 'R33',
    name: 'counts-the-bytes-of-keys-that-are-copied',
    patches: [
      {
        file: 'shared/protocol/regions/missed-keys.ts',
        find: 'if (had) this.#bytes -= utf8Length(key);',
        replace: '',
      },
    ],
    runner: 'members',
    seeds: [1, 20],
  },
];
