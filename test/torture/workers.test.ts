/** Tests a stale Worker beside its successor. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bodyOf, patience, write } from '../e2e/writes.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { attemptWrite } from './requests.ts';
import { Workers } from './workers.ts';

let stack: TestStack;
let workers: Workers;

beforeAll(async () => {
  stack = await startTestStack();
  workers = new Workers(stack);
});

afterAll(async () => {
  await workers?.stop();
  await stack?.stop();
});

/** Sends a write to the Worker at `url`. */
function increment(url: string, name: string) {
  const { tokens } = stack;
  const rest = {
    check: null,
    isKeyed: true,
    timeoutMs: 5_000,
    priority: 0,
    ack: 'committed',
  } as const;
  return attemptWrite({ url, tokens }, { name, commands: [['INCR', 'counter']], ...rest });
}

describe('a stale Worker', () => {
  it('acknowledges no write, and its successor goes on with its data and keys', async () => {
    const stale = workers.url;
    const first = await write(stack, [['INCR', 'counter']], { key: 'w1.1', ack: 'confirmed' });
    expect(bodyOf(first).results).toEqual([1]);
    await workers.succeed();
    expect(workers.url).not.toBe(stale);
    expect((await increment(stale, 'w1.2')).kind).not.toBe('committed');
    const next = await increment(workers.url, 'w1.3');
    expect(next).toMatchObject({ kind: 'committed', receipt: { results: [2] } });
    expect((await increment(stale, 'w1.4')).kind).not.toBe('committed');
    await workers.endStale();
    await workers.kill();
    await workers.restart();
    expect(await increment(workers.url, 'w1.2')).toMatchObject({ receipt: { results: [3] } });
    await expect.poll(() => stack.everywhere('counter'), patience).toEqual(['3', '3', '3']);
    await expect.poll(() => stack.locks(), patience).toEqual([]);
  });
});
