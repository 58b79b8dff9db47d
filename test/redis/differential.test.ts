import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { Beside } from './beside.ts';
import { sequences } from './sequences.ts';

let beside: Beside;

beforeAll(async () => {
  beside = await Beside.start();
});

afterAll(() => beside.stop());

describe('random sequences of commands', () => {
  it('answer as one plain Redis does, and leave what it has', async () => {
    const numRuns = Number(process.env.SEQUENCES ?? 2_000);
    const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
    const property = fc.asyncProperty(sequences, (steps) => beside.agree(steps));
    await fc.assert(property, { numRuns, ...seed });
  }, 300_000);
});
