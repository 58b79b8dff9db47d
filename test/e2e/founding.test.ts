/** Tests the start of a deployment over regions that already have data. */
import { afterEach, describe, expect, it } from 'vitest';
import { type ExtraRegion, startExtraRegion } from '../support/stack/extra-region.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { ask, eventsOf, listIn, memberOf, untilAllVote } from './members.ts';
import { copiesBy, type Picks, rounds } from './rounds.ts';
import { attempt, bodyOf, patience, strongRead, wake, write } from './writes.ts';

const opened: { stop(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop();
}, 60_000);

/** A stack whose Worker has not got any request yet. */
async function freshStack(): Promise<readonly [TestStack, TestRegion, TestRegion, TestRegion]> {
  const stack = await startTestStack();
  opened.push(stack);
  const [one, two, three] = stack.regions;
  if (one === undefined || two === undefined || three === undefined) throw new Error('three');
  return [stack, one, two, three];
}

async function fill({ client }: Pick<TestRegion, 'client'>, count: number): Promise<void> {
  const pairs = Array.from({ length: count }, (_, index) => [`user:${index}`, `value ${index}`]);
  await client.mset(pairs.flat());
}

/** The number of users' keys in each region. */
function counts(regions: readonly Pick<TestRegion, 'client'>[]): Promise<readonly number[]> {
  return Promise.all(regions.map(async ({ client }) => (await client.keys('user:*')).length));
}

/** The shard's state before it has members; null once it has them. */
async function foundingOf(stack: TestStack): Promise<unknown> {
  const { body } = await ask(stack, 'GET', 'regions');
  const [coordinator] = listIn<{ readonly founding: unknown }>(body, 'coordinators');
  return coordinator?.founding;
}

const refusedWith = async (stack: TestStack) => {
  const answer = await write(stack, [['APPEND', 'user:1', 'x']]);
  return [answer.status, bodyOf(answer).type];
};

const notFounded = [503, '/problems/not-founded'];

describe('a deployment over data that Lockstep did not write', () => {
  it('refuses writes and strong reads with the counts, and deletes nothing, until it is founded from a region', async () => {
    const [stack, one, two, three] = await freshStack();
    await fill(one, 500);
    const refused = await write(stack, [['APPEND', 'user:1', 'x']]);
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({
      type: '/problems/not-founded',
      regions: [
        { region: one.id, reason: 'it holds 500 keys' },
        { region: two.id, reason: 'it holds 0 keys' },
        { region: three.id, reason: 'it holds 0 keys' },
      ],
    });
    expect(await strongRead(stack, 'user:1', one.id)).toBe(503);
    const keys = { [one.id]: 500, [two.id]: 0, [three.id]: 0 };
    expect(await foundingOf(stack)).toMatchObject({ phase: 'waiting', keys });
    expect(await memberOf(stack, one.id)).toMatchObject({ state: 'out', cause: 'new' });
    const wrong = await ask(stack, 'POST', 'found', { source: two.id });
    expect([wrong.status, bodyOf(wrong).type]).toEqual([409, '/problems/order-refused']);
    expect(wrong.body).toMatchObject({ keys });
    expect((await ask(stack, 'POST', 'found', { source: 'nowhere' })).status).toBe(404);
    expect(await counts(stack.regions)).toEqual([500, 0, 0]);
    await stack.killWorker();
    await stack.restartWorker();
    expect(await refusedWith(stack)).toEqual(notFounded);
    expect((await ask(stack, 'POST', 'found', { source: one.id })).status).toBe(202);
    await untilAllVote(stack);
    expect(await counts(stack.regions)).toEqual([500, 500, 500]);
    expect((await refusedWith(stack))[0]).toBe(200);
    expect(await strongRead(stack, 'user:1', one.id)).toBe('value 1x');
    expect(await foundingOf(stack)).toBeNull();
  });

  /** The message of founding that never gets its answer, to the source or to another region, executed or not. */
  const interrupted: readonly (readonly [
    title: string,
    to: 'source' | 'target',
    matches: Picks,
    executed: boolean,
  ])[] = [
    ['before the first round reaches the source', 'source', rounds, false],
    ['after the source has executed the first round', 'source', rounds, true],
    ['before a copy begins', 'target', copiesBy('begin'), false],
    ['after a copy has begun', 'target', copiesBy('begin'), true],
    ['before the source reads for a copy', 'source', copiesBy('scan'), false],
    ['before a step of a copy is written', 'target', copiesBy('write'), false],
    ['after a step of a copy is written', 'target', copiesBy('write'), true],
  ];

  it.each(interrupted)('is founded over a kill -9 %s, with nothing lost', async (...scene) => {
    const [, to, matches, executed] = scene;
    const [stack, one, two] = await freshStack();
    await fill(one, 300);
    expect(await refusedWith(stack)).toEqual(notFounded);
    const { gateway } = to === 'source' ? one : two;
    const held = gateway.faults.add({ fault: { kind: 'hang', executed }, matches });
    // The answer to the order may be lost with its process.
    const asked = ask(stack, 'POST', 'found', { source: one.id }).catch(() => null);
    await held.hit;
    await stack.killWorker();
    await asked;
    stack.heal();
    await stack.restartWorker();
    await wake(stack);
    await untilAllVote(stack);
    expect(await counts(stack.regions)).toEqual([300, 300, 300]);
  });

  it('begins without an order if all regions hold the same data, and does not if one value differs', async () => {
    const [stack, ...regions] = await freshStack();
    for (const region of regions) await fill(region, 40);
    await regions[2].client.set('user:7', 'another');
    expect(await refusedWith(stack)).toEqual(notFounded);
    await expect.poll(() => foundingOf(stack), patience).toMatchObject({ phase: 'waiting' });
    expect(JSON.stringify(await foundingOf(stack))).toContain('hold different data');
    await regions[2].client.set('user:7', 'value 7');
    expect((await ask(stack, 'POST', 'found', {})).status).toBe(202);
    await expect.poll(() => foundingOf(stack), patience).toBeNull();
    expect(await attempt(stack, [['APPEND', 'user:1', 'x']])).toMatchObject({ status: 200 });
    expect(await counts(stack.regions)).toEqual([40, 40, 40]);
  });
});

describe('a key with a far expiry that is missing in one region', () => {
  it('is a divergence: the majority decides, and the region is copied', async () => {
    const [stack, , , three] = await freshStack();
    await write(stack, [['SET', 'k', '5', 'PX', '86400000']], { ack: 'confirmed' });
    await three.client.del('k');
    const answer = await write(stack, [['INCR', 'k']], { timeoutMs: 30_000 });
    expect(bodyOf(answer)).toMatchObject({ results: [6] });
    await untilAllVote(stack);
    expect(await stack.everywhere('k')).toEqual(['6', '6', '6']);
    const events = await eventsOf(stack, three.id, 0);
    expect(events).toEqual(['diverged', 'out', 'copying', 'returned']);
  });
});

describe('a region with keys that Lockstep did not write', () => {
  it('is not added until the operator confirms their number, and keeps them until then', async () => {
    const [stack] = await freshStack();
    await write(stack, [['SET', 'kept', 'v']], { ack: 'confirmed' });
    const extra: ExtraRegion = await startExtraRegion(stack);
    opened.push(extra);
    await fill(extra, 100);
    const refused = await ask(stack, 'POST', 'regions', extra.addition);
    expect([refused.status, bodyOf(refused).type]).toEqual([409, '/problems/order-refused']);
    expect(refused.body).toMatchObject({ keys: { [extra.id]: 100 } });
    expect(await counts([extra])).toEqual([100]);
    expect(await memberOf(stack, extra.id)).toBeNull();
    const fewer = await ask(stack, 'POST', 'regions', { ...extra.addition, replace: 99 });
    expect(fewer.status).toBe(409);
    const taken = await ask(stack, 'POST', 'regions', { ...extra.addition, replace: 100 });
    expect(taken.status).toBe(202);
    await untilAllVote(stack);
    expect(await counts([extra])).toEqual([0]);
    expect(await extra.client.get('kept')).toBe('v');
  });
});
