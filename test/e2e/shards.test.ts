/** Starts the Worker on an empty storage, and on one that knows its slots, with the objects of the real runtime. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { slotCount } from '../../shared/shards/slots.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { bodyOf, write } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(() => stack?.stop(), 60_000);

async function coordinators(): Promise<unknown> {
  return bodyOf(await stack.send('GET', '/v1/regions')).coordinators;
}

describe('a coordinator in the real runtime', () => {
  it('learns its shard from its name and its slots from the registry, and knows them after a crash', async () => {
    const slots = { phase: 'known', version: 1, count: slotCount, of: slotCount };
    for (const incarnation of [1, 2]) {
      const answer = await write(stack, [['SET', 'born', String(incarnation)]]);
      expect(bodyOf(answer)).toMatchObject({ outcome: 'committed' });
      expect(await coordinators()).toMatchObject([{ shard: 0, incarnation, slots }]);
      await stack.killWorker();
      await stack.restartWorker();
    }
  });
});
