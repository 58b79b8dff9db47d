/** Tests stacks whose regions are out of memory, one of them or all. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { bodyOf, patience, wake, write } from './writes.ts';

/** A voter that refuses is evicted soon, so that its tests do not take long. */
const variables = { LOCKSTEP_OUT_AFTER_MS: '500' };

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ variables });
});

beforeEach(async () => {
  await Promise.all(stack.regions.map((region) => setMaximum(region, 0)));
  const isBack = async () => (await states()).every((state) => state === 'voter');
  await expect.poll(isBack, patience).toBe(true);
});

afterAll(() => stack?.stop(), 60_000);

function setMaximum({ client }: TestRegion, bytes: number): Promise<unknown> {
  return client.config('SET', 'maxmemory', bytes);
}

/** Gives the region's server less memory than it uses. */
async function fill(region: TestRegion): Promise<void> {
  await setMaximum(region, 500_000);
}

interface Shown {
  readonly id: string;
  readonly state: string;
  readonly cause: string | null;
  readonly detail: string | null;
}

async function shown(): Promise<readonly Shown[]> {
  const { body } = await wake(stack);
  return (body as { readonly regions: readonly Shown[] }).regions;
}

async function states(): Promise<readonly string[]> {
  return (await shown()).map(({ state }) => state);
}

function everyRegion<Value>(value: Value): readonly Value[] {
  return stack.regions.map(() => value);
}

/** Sends one command like a client of Upstash. */
async function upstash(...command: readonly string[]): Promise<unknown> {
  return (await stack.send('POST', '/', command)).body;
}

describe('every region full', () => {
  const large = 'x'.repeat(100_000);

  it('refuses commands that take memory by name, and carries out commands that free some', async () => {
    const kept = ['a', 'b', 'c', 'list'];
    for (const key of ['a', 'b', 'c']) await write(stack, [['SET', key, large]]);
    await write(stack, [['RPUSH', 'list', large, large]], { ack: 'confirmed' });
    await Promise.all(stack.regions.map(fill));
    const refused = await write(stack, [['SET', 'more', 'x']]);
    expect(refused.status).toBe(507);
    expect(bodyOf(refused).type).toBe('/problems/regions-full');
    const named = bodyOf(refused).regions?.map(({ region }) => region);
    expect(named?.toSorted()).toEqual(stack.regions.map(({ id }) => id).toSorted());
    expect(await upstash('SET', 'more', 'x')).toEqual({ error: expect.stringMatching(/^OOM /) });
    const script = "return redis.call('DEL', KEYS[1])";
    expect(await upstash('DEL', 'a')).toEqual({ result: 1 });
    expect(await upstash('UNLINK', 'b')).toEqual({ result: 1 });
    expect(await upstash('EXPIRE', 'c', '1000')).toEqual({ result: 1 });
    expect(await upstash('LPOP', 'list')).toEqual({ result: large });
    expect(await upstash('EVAL', script, '1', 'c')).toEqual({ result: 1 });
    const both = [
      ['SET', 'more', 'x'],
      ['DEL', 'list'],
    ];
    const { body } = await stack.send('POST', '/pipeline', both);
    expect(body).toEqual([{ error: expect.stringMatching(/^OOM /) }, { result: 1 }]);
    // The commit of the pipeline may still be on its way.
    for (const key of kept) {
      await expect.poll(() => stack.everywhere(key), patience).toEqual(everyRegion(null));
    }
    expect(await states()).toEqual(everyRegion('voter'));
  });

  it('deletes every key, and accepts writes again', async () => {
    for (let at = 0; at < 20; at++) await write(stack, [['SET', `filler:${at}`, large]]);
    const used = async ({ client }: TestRegion) =>
      Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]);
    await Promise.all(
      stack.regions.map(async (region) => setMaximum(region, (await used(region)) - 100_000)),
    );
    expect((await write(stack, [['SET', 'more', 'x']])).status).toBe(507);
    expect(await upstash('FLUSHALL')).toEqual({ result: 'OK' });
    const written = async () => (await write(stack, [['SET', 'more', 'x']])).status;
    await expect.poll(written, patience).toBe(200);
    expect(await states()).toEqual(everyRegion('voter'));
  });
});

describe('one region full', () => {
  it('is evicted with its cause, the write commits, and it returns once it has memory', async () => {
    const [, full] = stack.regions;
    if (full === undefined) throw new Error('the stack has three regions');
    await fill(full);
    const answer = await write(stack, [['SET', 'k', 'v']], { timeoutMs: 30_000 });
    expect(bodyOf(answer).outcome).toBe('committed');
    const out = (await shown()).find(({ id }) => id === full.id);
    expect(out).toMatchObject({
      state: 'out',
      cause: 'refusing',
      detail: expect.stringContaining('out of memory'),
    });
    const history = await stack.send('GET', '/v1/admin/members', undefined, { scope: 'admin' });
    expect(JSON.stringify(history.body)).toContain('"cause":"refusing"');
    await setMaximum(full, 0);
    await expect.poll(states, patience).toEqual(everyRegion('voter'));
    expect(await stack.everywhere('k')).toEqual(everyRegion('v'));
  });

  it('is evicted as well if its server refuses to write', async () => {
    const [first] = stack.regions;
    if (first === undefined) throw new Error('the stack has three regions');
    await first.client.config('SET', 'min-replicas-to-write', '1');
    const answer = await write(stack, [['SET', 'k', 'w']], { timeoutMs: 30_000 });
    expect(bodyOf(answer).outcome).toBe('committed');
    const out = (await shown()).find(({ id }) => id === first.id);
    expect(out).toMatchObject({
      state: 'out',
      cause: 'refusing',
      detail: expect.stringContaining('NOREPLICAS'),
    });
    await first.client.config('SET', 'min-replicas-to-write', '0');
    await expect.poll(states, patience).toEqual(everyRegion('voter'));
    expect(await stack.everywhere('k')).toEqual(everyRegion('w'));
  });
});
