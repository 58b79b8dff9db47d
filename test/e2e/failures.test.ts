/** Injects faults into the requests to one region, and expects each write to commit or to leave nothing. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Fault } from '../../local/gateway/faults.ts';
import { readLocks } from '../support/region-state.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import {
  commitsOf,
  decisionsOn,
  hangIn,
  met,
  preparesOf,
  rounds,
  sizes,
  snapshots,
} from './rounds.ts';
import { bodyOf, patience, strongEverywhere, strongRead, wake, write } from './writes.ts';

/** Short deadlines, so that tests of silence do not take long; and no region is evicted for silence. */
const variables = {
  LOCKSTEP_VOTE_DEADLINE_MS: '250',
  LOCKSTEP_ROUND_TIMEOUT_MS: '300',
  LOCKSTEP_READ_TIMEOUT_MS: '300',
  LOCKSTEP_OUT_AFTER_MS: '60000',
};

let stack: TestStack;
let faulty: TestRegion;

beforeAll(async () => {
  stack = await startTestStack({ variables });
  const [, second] = stack.regions;
  if (second === undefined) throw new Error('the stack has three regions');
  faulty = second;
});

afterEach(async () => {
  stack?.heal();
  await recovered();
});

afterAll(() => stack?.stop(), 60_000);

function everyRegion<Value>(value: Value): readonly Value[] {
  return stack.regions.map(() => value);
}

/** Resolves when writes succeed again without help, and no region has a lock left. */
async function recovered(): Promise<void> {
  const tried = () => write(stack, [['SET', 'probe', 'x']], { ack: 'confirmed' });
  await expect.poll(async () => (await tried()).status, patience).toBe(200);
  await expect.poll(() => stack.locks(), patience).toEqual([]);
}

/**
 * The claim about every fault: an increment either commits, or gets a 503 that names the region and leaves no trace.
 */
async function expectAllOrNothing(key: string, timeoutMs = 700): Promise<'committed' | '503'> {
  const answer = await write(stack, [['INCR', key]], { key, timeoutMs });
  const body = bodyOf(answer);
  if (answer.status !== 200) {
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(body.type).toBe('/problems/region-unavailable');
    expect(body.regions?.map(({ region }) => region)).toContain(faulty.id);
    expect(body.detail).toContain(faulty.id);
    expect(await stack.everywhere(key)).toEqual(everyRegion(null));
  }
  stack.heal();
  await recovered();
  const committed = answer.status === 200;
  expect(await stack.everywhere(key)).toEqual(everyRegion(committed ? '1' : null));
  // The same request again: answered from the record, or carried out for the first time.
  const retry = await write(stack, [['INCR', key]], { key, ack: 'confirmed' });
  expect(bodyOf(retry)).toMatchObject({ results: [1], replayed: committed });
  expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
  return committed ? 'committed' : '503';
}

describe('a region that fails for the whole time of a write', () => {
  it.each<[string, Fault]>([
    ['refuses connections', { kind: 'refuse' }],
    ['loses requests', { kind: 'drop', executed: false }],
    ['loses answers after executing', { kind: 'drop', executed: true }],
    ['never answers', { kind: 'hang', executed: false }],
    ['executes and never answers', { kind: 'hang', executed: true }],
    ['is slower than the deadline', { kind: 'slow', ms: 500 }],
    ['answers a page', { kind: 'garbage', executed: false, answer: 'page' }],
    ['executes and answers a page', { kind: 'garbage', executed: true, answer: 'page' }],
    [
      'executes and answers half a JSON text',
      { kind: 'garbage', executed: true, answer: 'broken-json' },
    ],
    ['answers status 500', { kind: 'garbage', executed: false, answer: 'status-500' }],
    ['executes and answers status 500', { kind: 'garbage', executed: true, answer: 'status-500' }],
  ])(
    'that %s is named by a 503 that wrote nothing, and recovers without help',
    async (name, fault) => {
      faulty.gateway.faults.add({ fault });
      expect(await expectAllOrNothing(`lasting:${name}`)).toBe('503');
    },
  );

  it('without its Redis is named by a 503 that wrote nothing, and recovers without help', async () => {
    await faulty.redis.kill();
    const answer = await write(stack, [['INCR', 'down']], { key: 'down', timeoutMs: 400 });
    expect(answer.status).toBe(503);
    expect(bodyOf(answer).regions).toEqual([
      { region: faulty.id, reason: expect.stringContaining('cannot be reached') },
    ]);
    await faulty.redis.restart();
    await recovered();
    expect(await stack.everywhere('down')).toEqual(everyRegion(null));
    const retry = await write(stack, [['INCR', 'down']], { key: 'down', ack: 'confirmed' });
    expect(bodyOf(retry)).toMatchObject({ results: [1], replayed: false });
  });

  it('is slow, but within the deadline, and the write commits', async () => {
    faulty.gateway.faults.add({ fault: { kind: 'slow', ms: 60 } });
    expect(await expectAllOrNothing('slow', 5_000)).toBe('committed');
  });

  it('gets every request twice, and applies each once', async () => {
    for (const { gateway } of stack.regions) gateway.faults.add({ fault: { kind: 'duplicate' } });
    expect(await expectAllOrNothing('twice', 5_000)).toBe('committed');
    for (const { gateway } of stack.regions) gateway.faults.add({ fault: { kind: 'duplicate' } });
    for (const value of ['a', 'b', 'c']) {
      expect((await write(stack, [['RPUSH', 'twice:list', value]])).status).toBe(200);
    }
    stack.heal();
    await recovered();
    const lists = stack.regions.map(({ client }) => client.lrange('twice:list', 0, -1));
    expect(await Promise.all(lists)).toEqual(everyRegion(['a', 'b', 'c']));
  });
});

describe('a region that fails once', () => {
  const faults: [string, Fault][] = [
    ['loses the request', { kind: 'drop', executed: false }],
    ['loses the answer after executing', { kind: 'drop', executed: true }],
    ['executes and never answers', { kind: 'hang', executed: true }],
    ['executes and answers a page', { kind: 'garbage', executed: true, answer: 'page' }],
    [
      'executes and answers half a JSON text',
      { kind: 'garbage', executed: true, answer: 'broken-json' },
    ],
    ['executes and answers status 500', { kind: 'garbage', executed: true, answer: 'status-500' }],
  ];

  it.each(faults)(
    '%s of a prepare, gets the prepare again, and the write commits once',
    async (name, fault) => {
      const key = `prepare:${name}`;
      const met = faulty.gateway.faults.add({ fault, matches: preparesOf(key), times: 1 });
      const answer = await write(stack, [['INCR', key]], { ack: 'confirmed', timeoutMs: 20_000 });
      expect(bodyOf(answer)).toMatchObject({ outcome: 'confirmed', results: [1], attempts: 2 });
      expect(met.hits).toBe(1);
      expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
    },
  );

  it.each(faults)(
    '%s of a commit, gets the commit again, and applies it once',
    async (name, fault) => {
      const key = `commit:${name}`;
      const met = faulty.gateway.faults.add({ fault, matches: commitsOf(key), times: 1 });
      const answer = await write(stack, [['INCR', key]], { ack: 'confirmed', timeoutMs: 20_000 });
      expect(bodyOf(answer)).toMatchObject({ outcome: 'confirmed', results: [1], attempts: 1 });
      expect(met.hits).toBe(1);
      expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
    },
  );

  it('without the commit leaves the write committed, and the response lists the other regions', async () => {
    const key = 'withheld';
    // With a lease the region answers reads without the coordinator, even if its rounds hang.
    const query = { reads: [['GET', key]], region: faulty.id };
    const way = async () =>
      (await stack.send('POST', '/v1/reads', query, { scope: 'read' })).headers.get('lockstep-via');
    await expect.poll(way, patience).toBe('lease');
    hangIn([faulty], false, decisionsOn(key));
    const answer = await write(stack, [['SET', key, 'v']], { ack: 'confirmed', timeoutMs: 500 });
    expect(answer.status).toBe(200);
    const { id, outcome, confirmed } = bodyOf(answer);
    expect({ outcome, confirmed }).toEqual({ outcome: 'committed', confirmed: false });
    const path = `/v1/writes/${id}`;
    const status = async () => bodyOf(await stack.send('GET', path, undefined, { scope: 'read' }));
    const others = stack.regions.filter((region) => region !== faulty).map((region) => region.id);
    expect((await status()).appliedIn?.toSorted()).toEqual(others.toSorted());
    expect(await faulty.client.get(key)).toBeNull();
    expect(await strongRead(stack, key, faulty.id)).toBe('v');
    stack.heal();
    await expect.poll(async () => (await status()).outcome, patience).toBe('confirmed');
    expect((await status()).appliedIn).toHaveLength(3);
  });
});

describe('a read while a region is silent', () => {
  it('is answered by another region; a read of the silent one alone gets 504 with its name', async () => {
    await write(stack, [['SET', 'read', 'here']], { ack: 'confirmed' });
    const [nearest] = stack.regions;
    // Rounds continue, so no component knows that the region does not answer reads.
    nearest?.gateway.faults.add({ fault: { kind: 'hang', executed: false }, matches: snapshots });
    const query = { reads: [['GET', 'read']], consistency: 'strong' };
    const answer = await stack.send('POST', '/v1/reads', query, { scope: 'read' });
    expect(answer.status).toBe(200);
    expect(bodyOf(answer).results).toEqual(['here']);
    expect(answer.headers.get('lockstep-region')).not.toBe(nearest?.id);
    const only = await stack.send('POST', '/v1/reads', { ...query, region: nearest?.id });
    expect(only.status).toBe(504);
    expect(bodyOf(only).type).toBe('/problems/read-unanswered');
    expect(bodyOf(only).regions?.map(({ region }) => region)).toEqual([nearest?.id]);
  });

  it('returns the old value of an undecided write, and the new one of an acknowledged write', async () => {
    const key = 'read:undecided';
    await write(stack, [['SET', key, 'old']], { ack: 'confirmed' });
    const held = hangIn([faulty], true, preparesOf(key));
    const first = write(stack, [['SET', key, 'new']], { timeoutMs: 20_000 });
    await met(held);
    expect(await strongEverywhere(stack, key)).toEqual(everyRegion('old'));
    stack.heal();
    expect((await first).status).toBe(200);
    expect(await strongEverywhere(stack, key)).toEqual(everyRegion('new'));
  });
});

describe('a region without memory', () => {
  const setMaximum = (bytes: number) => faulty.client.config('SET', 'maxmemory', bytes);
  const usedBytes = async () =>
    Number(/used_memory:(\d+)/.exec(await faulty.client.info('memory'))?.[1]);

  it('is named by a 503 with the reason, which wrote nothing, and recovers when it has memory again', async () => {
    const before = await sizes(stack);
    await setMaximum((await usedBytes()) - 100_000);
    const answer = await write(stack, [['SET', 'full', 'x'.repeat(10_000)]], { timeoutMs: 500 });
    await setMaximum(0);
    expect(answer.status).toBe(503);
    expect(bodyOf(answer).regions).toEqual([
      { region: faulty.id, reason: expect.stringContaining('out of memory') },
    ]);
    await recovered();
    expect(await stack.everywhere('full')).toEqual(everyRegion(null));
    expect(await sizes(stack)).toEqual(before);
    const retry = await write(stack, [['SET', 'full', 'y']], { ack: 'confirmed' });
    expect(bodyOf(retry).outcome).toBe('confirmed');
  });

  it('still commits its prepared writes, and a strong read there returns them', async () => {
    const key = 'full:prepared';
    const gate = Promise.withResolvers<void>();
    const held = faulty.gateway.faults.add({
      fault: { kind: 'hold', executed: false, until: gate.promise },
      matches: commitsOf(key),
      times: 1,
    });
    const value = 'x'.repeat(50_000);
    const answer = await write(stack, [['SET', key, value]], { timeoutMs: 20_000 });
    expect(answer.status).toBe(200);
    await held.hit;
    await setMaximum((await usedBytes()) - 100_000);
    gate.resolve();
    await expect.poll(async () => (await readLocks(faulty.client)).size, patience).toBe(0);
    expect(await stack.everywhere(key)).toEqual(everyRegion(value));
    expect(await strongRead(stack, key, faulty.id)).toBe(value);
    await setMaximum(0);
  });
});

describe('data changed outside of Lockstep', () => {
  it('in one region of three makes Lockstep copy that region, and the increment commits without it', async () => {
    const key = 'diverged';
    await write(stack, [['SET', key, '1']], { ack: 'confirmed' });
    await faulty.client.set(key, '5');
    const answer = await write(stack, [['INCR', key]], { timeoutMs: 30_000 });
    expect(bodyOf(answer)).toMatchObject({ outcome: 'committed', results: [2] });
    await expect.poll(() => stack.everywhere(key), patience).toEqual(everyRegion('2'));
  });

  it('does not prevent writes of other keys, nor other writes of the same batch', async () => {
    const key = 'diverged:list';
    await faulty.client.rpush(key, 'stranger');
    const [wrong, right] = await Promise.all([
      write(stack, [['RPUSH', key, 'a']], { timeoutMs: 30_000 }),
      write(stack, [['INCR', 'diverged:other']], { timeoutMs: 30_000 }),
    ]);
    expect([wrong, right].map((answer) => bodyOf(answer).results)).toEqual([[1], [1]]);
    const lists = () => Promise.all(stack.regions.map(({ client }) => client.lrange(key, 0, -1)));
    await expect.poll(lists, patience).toEqual(everyRegion(['a']));
  });
});

describe('respond-async', () => {
  it('returns 202 while a region is silent, and the record exists once it has voted', async () => {
    const key = 'async';
    const held = hangIn([faulty], false, rounds);
    const headers = { prefer: 'respond-async' };
    const answer = await write(stack, [['INCR', key]], { key, headers, timeoutMs: 20_000 });
    expect(answer.status).toBe(202);
    const location = answer.headers.get('location') ?? '';
    expect(location).toBe(`/v1/writes/${bodyOf(answer).id}`);
    await met(held);
    expect(bodyOf(await stack.send('GET', location)).outcome).toBe('pending');
    stack.heal();
    const outcome = async () => bodyOf(await stack.send('GET', location)).outcome;
    await expect.poll(outcome, patience).toBe('confirmed');
    const recorded = bodyOf(await stack.send('GET', location));
    expect(recorded).toMatchObject({ results: [1] });
    expect(recorded.appliedIn).toHaveLength(3);
    expect(await stack.everywhere(key)).toEqual(everyRegion('1'));
  });

  it('reports the failed region of a write that was given up', async () => {
    faulty.gateway.faults.add({ fault: { kind: 'hang', executed: false } });
    const headers = { prefer: 'respond-async' };
    const answer = await write(stack, [['INCR', 'given-up']], { headers, timeoutMs: 400 });
    const location = answer.headers.get('location') ?? '';
    const status = async () => bodyOf(await stack.send('GET', location));
    await expect.poll(async () => (await status()).outcome, patience).toBe('unavailable');
    expect((await status()).regions?.map(({ region }) => region)).toContain(faulty.id);
    expect((await wake(stack)).status).toBe(200);
  });
});
