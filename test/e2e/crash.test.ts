/** Kills the Worker, or a region, at each phase of a write, and expects each write once or not at all. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { Load } from './load.ts';
import { commitsOf, hangIn, met, patientVariables, preparesOf, roundCounter } from './rounds.ts';
import { attempt, bodyOf, patience, strongEverywhere, strongRead, wake, write } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ variables: patientVariables });
});

afterEach(() => stack.heal());

afterAll(() => stack?.stop(), 60_000);

/** The same value for every region. */
function everyRegion<Value>(value: Value): readonly Value[] {
  return stack.regions.map(() => value);
}

/** SIGKILL, and a restart. Removes all faults, unless `keep` says otherwise. */
async function crash(keep: 'heal' | 'keep faults' = 'heal'): Promise<void> {
  await stack.killWorker();
  if (keep === 'heal') stack.heal();
  await stack.restartWorker();
}

async function expectNoLocks(): Promise<void> {
  await expect.poll(() => stack.locks(), patience).toEqual([]);
}

describe('a kill -9 between prepare and decision', () => {
  it('loses an unanswered write completely, and its retry under the same key commits once', async () => {
    const key = 'prepared:everywhere';
    const held = hangIn(stack.regions, true, preparesOf(key));
    const lost = attempt(stack, [['INCR', key]], { key });
    await met(held);
    expect(await stack.locks()).toHaveLength(3);
    expect(await stack.everywhere(key)).toEqual(everyRegion(null));
    await crash();
    expect(await lost).toBeNull();
    // No request arrives: the alarm alone wakes the coordinator.
    await expectNoLocks();
    expect(await stack.everywhere(key)).toEqual(everyRegion(null));

    const retry = await write(stack, [['INCR', key]], { key, ack: 'confirmed' });
    expect(bodyOf(retry)).toMatchObject({ outcome: 'confirmed', results: [1], replayed: false });
    const again = await write(stack, [['INCR', key]], { key });
    expect(bodyOf(again)).toMatchObject({ results: [1], replayed: true });
    expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
  });

  it('loses a write that all regions but one have prepared', async () => {
    const key = 'prepared:in-two';
    const [first, ...others] = stack.regions;
    // Loads the script that APPEND needs: a request with a digest that a region does not know prepares nothing.
    const loaded = await write(stack, [['APPEND', 'prepared:before', 'x']], { ack: 'confirmed' });
    expect(bodyOf(loaded).outcome).toBe('confirmed');
    const held = [
      ...hangIn(others, true, preparesOf(key)),
      ...hangIn(first === undefined ? [] : [first], false, preparesOf(key)),
    ];
    const lost = attempt(stack, [['APPEND', key, 'x']], { key });
    await met(held);
    expect(await stack.locks()).toHaveLength(2);
    await crash();
    expect(await lost).toBeNull();
    expect(await strongEverywhere(stack, key)).toEqual(everyRegion(null));
    await expectNoLocks();
    expect(await stack.everywhere(key)).toEqual(everyRegion(null));
    const retry = await write(stack, [['APPEND', key, 'x']], { key, ack: 'confirmed' });
    expect(bodyOf(retry)).toMatchObject({ outcome: 'confirmed', results: [1] });
    expect(await stack.everywhere(key)).toEqual(everyRegion('x'));
  });

  it('refuses the prepares of the killed life when they arrive in the next one', async () => {
    const key = 'prepared:late';
    const gate = Promise.withResolvers<void>();
    const held = stack.regions.map(({ gateway }) =>
      gateway.faults.add({
        fault: { kind: 'hold', executed: false, until: gate.promise },
        matches: preparesOf(key),
      }),
    );
    const lost = attempt(stack, [['SET', key, 'late']], { key });
    await met(held);
    await crash();
    expect(await lost).toBeNull();
    const next = await write(stack, [['SET', 'prepared:next', '1']], { ack: 'confirmed' });
    expect(bodyOf(next).outcome).toBe('confirmed');

    const before = await Promise.all(stack.regions.map(roundCounter));
    gate.resolve();
    const executed = () => Promise.all(stack.regions.map(roundCounter));
    await expect.poll(executed, patience).toEqual(before.map((count) => count + 1));
    expect(await stack.locks()).toEqual([]);
    const retry = await write(stack, [['SET', key, 'retried']], { ack: 'confirmed' });
    expect(retry.status).toBe(200);
    expect(await stack.everywhere(key)).toEqual(everyRegion('retried'));
  });
});

describe('a kill -9 between decision and commit', () => {
  it('applies the acknowledged write in every region, even in one whose commit is withheld', async () => {
    const key = 'decided';
    await write(stack, [['SET', key, 'old']], { ack: 'confirmed' });
    const held = hangIn(stack.regions, false, commitsOf(key));
    const answered = await write(stack, [['APPEND', key, '+new']], { key: 'decided-1' });
    expect(bodyOf(answered)).toMatchObject({ outcome: 'committed', results: [7] });
    await met(held);
    expect(await stack.everywhere(key)).toEqual(everyRegion('old'));

    await stack.killWorker();
    const [withheld, ...others] = stack.regions;
    for (const { gateway } of others) gateway.faults.clear();
    await stack.restartWorker();
    // The first request of the new life is a strong read in the region that has not received the commit.
    expect(await strongRead(stack, key, withheld?.id ?? '')).toBe('old+new');
    expect(await strongEverywhere(stack, key)).toEqual(everyRegion('old+new'));
    const path = `/v1/writes/${bodyOf(answered).id}`;
    const elsewhere = others.map(({ id }) => id).toSorted();
    const applied = async () => bodyOf(await stack.send('GET', path)).appliedIn?.toSorted();
    await expect.poll(applied, patience).toEqual(elsewhere);

    // The round with the commit hangs until it times out; a further life does not wait for that.
    await crash();
    await wake(stack);
    await expectNoLocks();
    expect(await stack.everywhere(key)).toEqual(everyRegion('old+new'));
    await expect.poll(applied, patience).toHaveLength(3);
    const replay = await write(stack, [['APPEND', key, '+new']], { key: 'decided-1' });
    expect(bodyOf(replay)).toMatchObject({ results: [7], replayed: true });
  });

  it('does not apply a commit again if its acknowledgements were lost', async () => {
    const key = 'decided:applied';
    const held = hangIn(stack.regions, true, commitsOf(key));
    const answered = await write(stack, [['RPUSH', key, 'one']], { key });
    expect(answered.status).toBe(200);
    await met(held);
    await crash();
    const next = await write(stack, [['RPUSH', key, 'two']], { ack: 'confirmed' });
    expect(bodyOf(next)).toMatchObject({ outcome: 'confirmed', results: [2] });
    const lists = await Promise.all(stack.regions.map(({ client }) => client.lrange(key, 0, -1)));
    expect(lists).toEqual(everyRegion(['one', 'two']));
    await expectNoLocks();
  });

  it('does not undo newer writes when commits of the killed life arrive late', async () => {
    const key = 'decided:late';
    const gate = Promise.withResolvers<void>();
    const held = stack.regions.map(({ gateway }) =>
      gateway.faults.add({
        fault: { kind: 'hold', executed: false, until: gate.promise },
        matches: commitsOf(key),
        times: 1,
      }),
    );
    expect((await write(stack, [['SET', key, 'first']])).status).toBe(200);
    await met(held);
    await crash();
    const newer = await write(stack, [['SET', key, 'second']], { ack: 'confirmed' });
    expect(bodyOf(newer).outcome).toBe('confirmed');
    const before = await Promise.all(stack.regions.map(roundCounter));
    gate.resolve();
    const executed = () => Promise.all(stack.regions.map(roundCounter));
    await expect.poll(executed, patience).toEqual(before.map((count) => count + 1));
    expect(await stack.everywhere(key)).toEqual(everyRegion('second'));
    expect((await write(stack, [['SET', key, 'third']], { ack: 'confirmed' })).status).toBe(200);
    expect(await stack.everywhere(key)).toEqual(everyRegion('third'));
  });
});

describe('a kill -9 after the commit', () => {
  it('changes nothing: values, records and answers by key stay the same', async () => {
    const key = 'committed';
    const done = await write(stack, [['INCRBY', key, 5]], { key, ack: 'confirmed' });
    const failed = await write(stack, [['INCRBY', key, 5]], {
      key: 'committed:checked',
      checks: [{ key, equals: '4' }],
    });
    expect([done.status, failed.status]).toEqual([200, 412]);
    const path = `/v1/writes/${bodyOf(done).id}`;
    const recorded = await stack.send('GET', path);
    await crash();
    expect(await stack.everywhere(key)).toEqual(everyRegion('5'));
    expect((await stack.send('GET', path)).body).toEqual(recorded.body);
    const replay = await write(stack, [['INCRBY', key, 5]], { key, ack: 'confirmed' });
    expect(replay.body).toEqual({ ...bodyOf(done), replayed: true });
    const again = await write(stack, [['INCRBY', key, 5]], {
      key: 'committed:checked',
      checks: [{ key, equals: '4' }],
    });
    expect(again.status).toBe(412);
    expect(bodyOf(again)).toMatchObject({ id: bodyOf(failed).id, replayed: true });
    expect(await stack.everywhere(key)).toEqual(everyRegion('5'));
    await expectNoLocks();
  });
});

/** Holds after all of a load's writes are acknowledged: each is counted once, in every region, and recorded. */
async function expectExactlyOnce(load: Load, counter: string): Promise<void> {
  const count = load.acknowledged.length;
  const values = load.acknowledged.map(({ value }) => Number(value));
  expect(values.toSorted((a, b) => a - b)).toEqual(values.map((_, index) => index + 1));
  await expect.poll(() => stack.everywhere(counter), patience).toEqual(everyRegion(String(count)));
  const members = stack.regions.map(({ client }) => client.scard(`${counter}:keys`));
  expect(await Promise.all(members)).toEqual(everyRegion(count));
  for (const { key, value, id } of load.acknowledged) {
    const ops = [
      ['INCR', counter],
      ['SADD', `${counter}:keys`, key],
    ];
    const replay = await write(stack, ops, { key });
    expect(bodyOf(replay)).toMatchObject({ id, replayed: true, results: [value, 1] });
  }
  await expectNoLocks();
  expect(await stack.everywhere(counter)).toEqual(everyRegion(String(count)));
}

describe('a kill -9 under load', () => {
  it('counts each acknowledged key once in every region after ten of them', async () => {
    const load = new Load(stack, 'load', 8, 10_000);
    for (let kill = 1; kill <= 10; kill += 1) {
      await load.more(20);
      await crash();
    }
    await load.more(20);
    await load.finish();
    expect(load.failures).toContain('connection broken');
    await expectExactlyOnce(load, 'load');
  });

  it('of a region fails writes with its name, and writes succeed again when it is back', async () => {
    const [, region] = stack.regions;
    const id = region?.id ?? '';
    const clients = 4;
    const load = new Load(stack, 'redis', clients, 500);
    const dead: (typeof load.failures)[number][] = [];
    for (const _ of [0, 1]) {
      await load.more(20);
      await region?.redis.kill();
      // Each client may have had one write in progress, which fails for the fault before.
      const first = load.failures.length + clients;
      await expect.poll(() => load.failures.length, patience).toBeGreaterThan(first + clients);
      dead.push(...load.failures.slice(first, first + clients));
      await region?.redis.restart();
    }
    await load.more(20);
    await load.finish();
    for (const failure of load.failures) {
      expect(failure).toMatchObject({
        status: 503,
        body: { type: '/problems/region-unavailable' },
      });
    }
    for (const failure of dead) {
      const named = failure === 'connection broken' ? [] : failure.body.regions;
      expect(named?.map((fault) => fault.region)).toContain(id);
    }
    await expectExactlyOnce(load, 'redis');
  });
});
