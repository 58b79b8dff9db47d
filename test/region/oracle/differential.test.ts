/** Compares random sequences of commands in a region with a plain Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { largeSequences } from './large.ts';
import { RedisOracle } from './redis-oracle.ts';
import { runCountOf } from './run-count.ts';
import { type Step, sequences } from './sequences.ts';

let oracle: RedisOracle;

beforeAll(async () => {
  oracle = await RedisOracle.start();
});

afterAll(() => oracle.stop());

describe('random sequences of commands', () => {
  const agree = async (arbitrary: fc.Arbitrary<readonly Step[]>, usualRuns: number) => {
    const property = fc.asyncProperty(arbitrary, (steps) => oracle.agree(steps));
    await fc.assert(property, runCountOf(usualRuns));
  };

  it(
    'have the same replies as in one plain Redis, and leave the same data',
    () => agree(sequences, 2_000),
    300_000,
  );

  it(
    'do so on collections that are staged by their elements',
    () => agree(largeSequences, 1_000),
    300_000,
  );
});
