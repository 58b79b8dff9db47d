import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { Beside } from './beside.ts';
import { largeSequences } from './large.ts';
import { runsOf } from './runs.ts';
import { type Step, sequences } from './sequences.ts';

let beside: Beside;

beforeAll(async () => {
  beside = await Beside.start();
});

afterAll(() => beside.stop());

describe('random sequences of commands', () => {
  const agree = async (arbitrary: fc.Arbitrary<readonly Step[]>, usualRuns: number) => {
    const property = fc.asyncProperty(arbitrary, (steps) => beside.agree(steps));
    await fc.assert(property, runsOf(usualRuns));
  };

  it(
    'answer as one plain Redis does, and leave what it has',
    () => agree(sequences, 2_000),
    300_000,
  );

  it(
    'do so on collections that are staged by their elements',
    () => agree(largeSequences, 1_000),
    300_000,
  );
});
