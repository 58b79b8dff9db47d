/** Compares random pipelines and transactions on a stack with a plain Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { runCountOf } from '../region/oracle/run-count.ts';
import { sequences } from '../region/oracle/sequences.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { agree } from './sequences.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

describe('random sequences of pipelines and transactions', () => {
  it('have the same replies as in one plain Redis, and leave the same data in every region', async () => {
    const property = fc.asyncProperty(sequences, (steps) => agree(stack, plain, steps));
    await fc.assert(property, runCountOf(250));
  });
});
