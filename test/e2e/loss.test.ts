/** Tests regions that lose their data, and a coordinator that loses its storage. */
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { workerStorage } from '../../local/stack/worker.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { ask, eventsOf, expectWhole, memberOf, newestChange, untilAllVote } from './members.ts';
import { copiesBy, preparesOf } from './rounds.ts';
import { attempt, bodyOf, patience, strongRead, wake, write } from './writes.ts';

let stack: TestStack;
let first: TestRegion;
let lost: TestRegion;
let other: TestRegion;

beforeAll(async () => {
  stack = await startTestStack();
  const [one, two, three] = stack.regions;
  if (one === undefined || two === undefined || three === undefined) throw new Error('three');
  [first, lost, other] = [one, two, three];
  await write(stack, [['SET', 'kept', 'v']], { ack: 'confirmed' });
});

afterEach(() => stack?.heal());

afterAll(() => stack?.stop(), 60_000);

describe('a region that has lost its data', () => {
  it('is evicted, so that the interrupted write commits, and returns complete', async () => {
    const since = await newestChange(stack);
    // The vote comes late rather than never: otherwise its round would fail during the next steps.
    const gate = Promise.withResolvers<void>();
    const held = other.gateway.faults.add({
      fault: { kind: 'hold', executed: true, until: gate.promise },
      matches: preparesOf('interrupted'),
    });
    const interrupted = write(stack, [['INCR', 'interrupted']], { timeoutMs: 30_000 });
    await held.hit;
    await lost.client.flushall();
    gate.resolve();
    expect(bodyOf(await interrupted)).toMatchObject({ outcome: 'committed', results: [1] });
    const next = await write(stack, [['APPEND', 'kept', '+']], { timeoutMs: 30_000 });
    expect(bodyOf(next)).toMatchObject({ results: [2] });
    await expectWhole(stack);
    expect(await stack.everywhere('interrupted')).toEqual(['1', '1', '1']);
    expect(await stack.everywhere('kept')).toEqual(['v+', 'v+', 'v+']);
    const events = await eventsOf(stack, lost.id, since);
    expect(events).toEqual(['leaving', 'out', 'copying', 'returned']);
  });

  it('answers no read before it is complete, and the others do', async () => {
    const gate = Promise.withResolvers<void>();
    const held = lost.gateway.faults.add({
      fault: { kind: 'hold', executed: false, until: gate.promise },
      matches: copiesBy('write'),
      times: 1,
    });
    await lost.client.flushall();
    const written = await write(stack, [['SET', 'kept', 'w']], { timeoutMs: 30_000 });
    expect(written.status).toBe(200);
    await held.hit;
    expect(await memberOf(stack, lost.id)).toMatchObject({ state: 'copying', cause: 'lost' });
    expect(await strongRead(stack, 'kept', lost.id)).toBe(503);
    const local = { reads: [['GET', 'kept']], consistency: 'local', region: lost.id };
    expect((await stack.send('POST', '/v1/reads', local)).status).toBe(503);
    expect(await strongRead(stack, 'kept', first.id)).toBe('w');
    expect(await strongRead(stack, 'kept', other.id)).toBe('w');
    gate.resolve();
    await untilAllVote(stack);
    expect(await strongRead(stack, 'kept', lost.id)).toBe('w');
  });

  it('while the Worker was down is detected by its first round, and returns complete', async () => {
    await stack.killWorker();
    await lost.client.flushall();
    await stack.restartWorker();
    const answer = await write(stack, [['SET', 'kept', 'x']], { timeoutMs: 30_000 });
    expect(answer.status).toBe(200);
    await expectWhole(stack);
    expect(await stack.everywhere('kept')).toEqual(['x', 'x', 'x']);
  });
});

/** These tests run in order. */
describe('a coordinator that has lost its storage', () => {
  it('is a stranger to its regions: it does not overwrite their data, and reports the reason', async () => {
    await stack.killWorker();
    rmSync(workerStorage(stack.stateDirectory), { recursive: true });
    await stack.restartWorker();
    await wake(stack);
    const answer = await attempt(stack, [['SET', 'kept', 'y']], { timeoutMs: 1_000 });
    expect(answer?.status).toBe(503);
    const body = answer === null ? {} : bodyOf(answer);
    expect(body.regions?.map(({ reason }) => reason).join()).toContain('another Lockstep');
    expect(await stack.everywhere('kept')).toEqual(['x', 'x', 'x']);
    expect(await stack.locks()).toEqual([]);
    expect(await strongRead(stack, 'kept', first.id)).toBe(503);
  });

  it('continues with the data of one region after an operator confirms it and the others’ counts', async () => {
    const believed = await ask(stack, 'POST', `regions/${first.id}/force-recover`, {
      confirm: first.id,
    });
    expect(believed.status).toBe(409);
    const unsaid = await ask(stack, 'POST', 'found', { source: first.id });
    expect(unsaid.status).toBe(409);
    const counts = { [lost.id]: 2, [other.id]: 2 };
    expect(unsaid.body).toMatchObject({ keys: counts });
    const founded = await ask(stack, 'POST', 'found', { source: first.id, replace: counts });
    expect(founded.status).toBe(202);
    await expectWhole(stack);
    const answer = await write(stack, [['APPEND', 'kept', '+']], { timeoutMs: 30_000 });
    expect(bodyOf(answer)).toMatchObject({ results: [2] });
    await expect.poll(() => stack.everywhere('kept'), patience).toEqual(['x+', 'x+', 'x+']);
  });
});
