import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { workerStorage } from '../../local/worker.ts';
import { startTestStack, type TestStack } from '../stack/stack.ts';
import { hangIn, met, preparesOf } from './rounds.ts';
import { attempt, patience, strongRead, toldBy, wake, write } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack();
  await write(stack, [['SET', 'kept', 'v']], { ack: 'confirmed' });
}, 120_000);

afterAll(() => stack?.stop(), 60_000);

/** These go in order: what is lost stays lost. */
describe('a region that has lost its data', { timeout: 60_000 }, () => {
  it('is named by every write from then on, and leaves no lock of a write that it interrupted', async () => {
    const [, lost, other] = stack.regions;
    const held = hangIn(other === undefined ? [] : [other], true, preparesOf('interrupted'));
    const interrupted = write(stack, [['INCR', 'interrupted']], { timeoutMs: 20_000 });
    await met(held);
    await lost?.client.flushall();
    stack.heal();
    const first = await interrupted;
    const second = await write(stack, [['INCR', 'kept']], { timeoutMs: 20_000 });
    for (const answer of [first, second]) {
      expect(answer.status).toBe(503);
      expect(toldBy(answer).regions?.map(({ region }) => region)).toEqual([lost?.id]);
    }
    await expect.poll(() => stack.locks(), patience).toEqual([]);
    expect(await stack.everywhere('interrupted')).toEqual([null, null, null]);
    expect(await stack.everywhere('kept')).toEqual(['v', null, 'v']);
  });

  it('answers no read, and the others do', async () => {
    const [first, lost, other] = stack.regions;
    expect(await strongRead(stack, 'kept', lost?.id ?? '')).toBe(503);
    expect(await strongRead(stack, 'kept', first?.id ?? '')).toBe('v');
    expect(await strongRead(stack, 'kept', other?.id ?? '')).toBe('v');
  });

  it('is not taken back by a restart of the Worker', async () => {
    await stack.killWorker();
    await stack.restartWorker();
    const answer = await write(stack, [['SET', 'kept', 'w']], { timeoutMs: 5_000 });
    expect(answer.status).toBe(503);
    expect(await stack.everywhere('kept')).toEqual(['v', null, 'v']);
  });
});

describe('a coordinator that has lost its storage', { timeout: 60_000 }, () => {
  it('is a stranger to its regions: it writes nothing over what they hold, and says why', async () => {
    await stack.killWorker();
    rmSync(workerStorage(stack.stateDirectory), { recursive: true });
    await stack.restartWorker();
    await wake(stack);
    const answer = await attempt(stack, [['SET', 'kept', 'w']], { timeoutMs: 1_000 });
    expect(answer?.status).toBe(503);
    const told = answer === null ? {} : toldBy(answer);
    expect(told.regions?.map(({ reason }) => reason).join()).toContain('another Lockstep');
    expect(await stack.everywhere('kept')).toEqual(['v', null, 'v']);
    expect(await stack.locks()).toEqual([]);
    expect(await strongRead(stack, 'kept', stack.regions[0]?.id ?? '')).toBe(503);
  });
});
