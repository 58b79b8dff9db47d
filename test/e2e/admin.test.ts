/** Tests operators' orders on a whole stack. test/edge/admin.test.ts tests their routes alone. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { additionOf, type ExtraRegion, startExtraRegion } from '../support/stack/extra-region.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import {
  ask,
  contentOf,
  eventsOf,
  expectWhole,
  memberOf,
  newestChange,
  untilAllVote,
  untilState,
  verify,
} from './members.ts';
import { commitsOf, hangIn, met, preparesOf } from './rounds.ts';
import { bodyOf, patience, strongRead, write } from './writes.ts';

let stack: TestStack;
let first: TestRegion;
let second: TestRegion;
let third: TestRegion;

beforeAll(async () => {
  stack = await startTestStack();
  const [one, two, three] = stack.regions;
  if (one === undefined || two === undefined || three === undefined) throw new Error('three');
  [first, second, third] = [one, two, three];
});

afterEach(() => stack?.heal());

afterAll(() => stack?.stop(), 60_000);

/** Sends an order and expects 202. Returns the detail of the response. */
async function ordered(method: string, path: string, body?: unknown): Promise<string> {
  const answer = await ask(stack, method, path, body);
  expect(answer.status).toBe(202);
  return bodyOf(answer).detail ?? '';
}

/** Removes a region; resolves when it is gone. */
async function remove(id: string): Promise<void> {
  const since = await newestChange(stack);
  await ordered('DELETE', `regions/${id}`);
  await expect.poll(() => eventsOf(stack, id, since), patience).toContain('removed');
  expect(await memberOf(stack, id)).toBeNull();
}

/** Sets a string in every region, voter or not. */
async function set(key: string, value: string): Promise<void> {
  const answer = await write(stack, [['SET', key, value]], { ack: 'confirmed', timeoutMs: 30_000 });
  expect(answer.status).toBe(200);
}

describe('a region that an operator evicts', () => {
  it('stays out although it answers, even over a kill -9, and returns on the operator’s order', async () => {
    const since = await newestChange(stack);
    await set('ordered', '1');
    await ordered('POST', `regions/${second.id}/out`, { reason: 'a new disk' });
    await untilState(stack, second.id, 'out');
    await set('ordered', '2');
    await stack.killWorker();
    await stack.restartWorker();
    await set('ordered', '3');
    expect(await memberOf(stack, second.id)).toMatchObject({
      state: 'out',
      cause: 'ordered',
      held: true,
    });
    expect(await stack.everywhere('ordered')).toEqual(['3', '1', '3']);
    expect(await strongRead(stack, 'ordered', second.id)).toBe(503);
    await ordered('POST', `regions/${second.id}/return`);
    await expectWhole(stack);
    expect(await stack.everywhere('ordered')).toEqual(['3', '3', '3']);
    const { body } = await ask(stack, 'GET', 'members?limit=100');
    expect(JSON.stringify(body)).toContain('a new disk');
    const events = await eventsOf(stack, second.id, since);
    expect(events).toEqual(['leaving', 'out', 'copying', 'returned']);
  });

  it('is not evicted if it is the last voter', async () => {
    for (const { id } of [second, third]) {
      await ordered('POST', `regions/${id}/out`);
      await untilState(stack, id, 'out');
    }
    const answer = await ask(stack, 'POST', `regions/${first.id}/out`);
    expect([answer.status, bodyOf(answer).type]).toEqual([409, '/problems/order-refused']);
    for (const { id } of [second, third]) await ordered('POST', `regions/${id}/return`);
    await expectWhole(stack);
  });
});

describe('a region that is added and removed at run time', () => {
  let extra: ExtraRegion;

  beforeAll(async () => {
    extra = await startExtraRegion(stack);
  });

  afterAll(() => extra?.stop(), 60_000);

  it('gets a copy of everything and votes, and keeps its data when it is removed', async () => {
    await write(stack, [
      ['SET', 'full', 'v', 'PX', '3600000'],
      ['HSET', 'full:hash', 'a', '1', 'b', '2'],
      ['RPUSH', 'full:list', 'x', 'y', 'x'],
      ['SADD', 'full:set', 'p', 'q'],
      ['ZADD', 'full:sorted', '1.5', 'm', '2', 'n'],
    ]);
    await ordered('POST', 'regions', extra.addition);
    await untilState(stack, extra.id, 'voter');
    await set('added', 'everywhere');
    expect(await extra.client.get('added')).toBe('everywhere');
    expect(await strongRead(stack, 'added', extra.id)).toBe('everywhere');
    expect(await contentOf(extra)).toEqual(await contentOf(first));
    await expectWhole(stack);

    await remove(extra.id);
    await set('added', 'elsewhere');
    expect(await extra.client.get('added')).toBe('everywhere');
    await expectWhole(stack);
  });

  it('returns with foreign data only after the operator confirms the number of its keys', async () => {
    await ordered('POST', 'regions', extra.addition);
    await expect
      .poll(() => memberOf(stack, extra.id), patience)
      .toMatchObject({ state: 'out', cause: 'foreign', held: true });
    await extra.client.set('stray', 'here alone');
    const held = (await contentOf(extra)).length;
    const path = `regions/${extra.id}/return`;
    // A refusal contains the number that the region reported last, and requests it again.
    const named = async () => (await ask(stack, 'POST', path, {})).body;
    await expect.poll(named, patience).toMatchObject({ keys: { [extra.id]: held } });
    for (const body of [{}, { force: true }, { force: true, replace: held - 1 }]) {
      const refused = await ask(stack, 'POST', path, body);
      expect([refused.status, bodyOf(refused).type]).toEqual([409, '/problems/order-refused']);
      expect(refused.body).toMatchObject({ keys: { [extra.id]: held } });
    }
    expect(await extra.client.get('stray')).toBe('here alone');
    await ordered('POST', path, { force: true, replace: held });
    await untilState(stack, extra.id, 'voter');
    expect(await contentOf(extra)).toEqual(await contentOf(first));
    await remove(extra.id);
  });

  it('may be a configured one: it comes back by order, and not by a restart of the Worker', async () => {
    await remove(third.id);
    await stack.killWorker();
    await stack.restartWorker();
    await set('removed', '1');
    expect(await memberOf(stack, third.id)).toBeNull();
    expect(await stack.everywhere('removed')).toEqual(['1', '1', null]);
    await ordered('POST', 'regions', additionOf(third.place, third.gateway));
    await expectWhole(stack);
    expect(await stack.everywhere('removed')).toEqual(['1', '1', '1']);
  });
});

describe('a verification', () => {
  it('finds keys that were changed outside of Lockstep, and a repair restores the majority’s values', async () => {
    await Promise.all(['a', 'b'].map((key) => set(`verify:${key}`, 'right')));
    await second.client.set('verify:a', 'wrong');
    await second.client.del('verify:b');
    await second.client.set('verify:stray', 'around');
    const { differing } = await verify(stack);
    expect(differing.toSorted((one, other) => (one.key < other.key ? -1 : 1))).toMatchObject([
      { key: 'verify:a', kind: 'differs', lastWrite: expect.any(Number) },
      { key: 'verify:b', kind: 'only-in', lastWrite: expect.any(Number) },
      { key: 'verify:stray', kind: 'around', lastWrite: null },
    ]);
    const keys = differing.map(({ key }) => key);
    await ordered('POST', 'repair', { keys });
    await expectWhole(stack);
    expect(await stack.everywhere('verify:a')).toEqual(['right', 'right', 'right']);
    expect(await stack.everywhere('verify:b')).toEqual(['right', 'right', 'right']);
    expect(await stack.everywhere('verify:stray')).toEqual([null, null, null]);
    const again = await ask(stack, 'POST', 'repair', { keys });
    expect(again.status).toBe(200);
  });

  it('finishes together with a repair over values larger than the limit of one response', async () => {
    const large = ['large:1', 'large:2', 'large:3'];
    for (const key of large) await write(stack, [['SETBIT', key, '40000000', '1']]);
    for (const key of ['large:a', 'large:z']) await set(key, 'right');
    await expectWhole(stack);
    await second.client.set('large:z', 'wrong');
    const { differing } = await verify(stack);
    expect(differing).toMatchObject([{ key: 'large:z', kind: 'differs' }]);
    await ordered('POST', 'repair', { keys: [...large, 'large:a', 'large:z'] });
    await expectWhole(stack);
    expect(await stack.everywhere('large:z')).toEqual(['right', 'right', 'right']);
    await write(stack, [['DEL', ...large]]);
  });

  it('ends in agreement after repeated repairs if each region is wrong about another key', async () => {
    const keys = stack.regions.map(({ id }) => `wrong:${id}`);
    for (const key of keys) await set(key, 'right');
    for (const { id, client } of stack.regions) await client.set(`wrong:${id}`, 'wrong');
    const repair = async () => (await ask(stack, 'POST', 'repair', { keys })).status;
    await expect.poll(repair, patience).toBe(200);
    await expectWhole(stack);
    for (const key of keys) {
      expect(await stack.everywhere(key)).toEqual(['right', 'right', 'right']);
    }
  });

  it('covers many keys in slices, while they are written', async () => {
    const ops = Array.from({ length: 100 }, (_, number) => ['SET', `slice:${number}`, 'x']);
    await write(stack, [...ops, ['SET', 'slice:busy', '0']], { ack: 'confirmed' });
    let isOver = false;
    const writer = (async () => {
      while (!isOver) await write(stack, [['INCR', 'slice:busy']]);
    })();
    const found: unknown[] = [];
    let checked = 0;
    let cursor: string | null = null;
    try {
      do {
        const question: object = {
          limit: 40,
          ...(cursor === null ? { prefix: 'slice:' } : { cursor }),
        };
        const { body } = await ask(stack, 'POST', 'verify', question);
        const slice = body as { checked: number; differing: unknown[]; next: string | null };
        checked += slice.checked;
        found.push(...slice.differing);
        cursor = slice.next;
      } while (cursor !== null);
    } finally {
      isOver = true;
      await writer;
    }
    expect(checked).toBeGreaterThanOrEqual(101);
    expect(found).toEqual([]);
  });
});

describe('the list of in-doubt transactions', () => {
  interface Doubt {
    readonly transactions: readonly {
      readonly transaction: string;
      readonly state: string;
      readonly keys: readonly string[];
    }[];
    readonly locks: readonly {
      readonly region: string;
      readonly key: string;
      readonly transaction: string;
      readonly resolution: string;
    }[];
  }
  const doubt = async () => (await ask(stack, 'GET', 'in-doubt')).body as Doubt;

  it('contains an undecided write with its locks; settled, the write is retried and commits', async () => {
    const held = hangIn([second], true, preparesOf('doubt'));
    const undecided = write(stack, [['INCR', 'doubt']], { timeoutMs: 30_000 });
    await met(held);
    const { transactions, locks } = await doubt();
    const [open] = transactions;
    expect(open).toMatchObject({ state: 'undecided', keys: ['doubt'] });
    const lock = { key: 'doubt', transaction: open?.transaction, resolution: 'pending' };
    expect(locks).toEqual(
      stack.regions.map(({ id }) => expect.objectContaining({ ...lock, region: id })),
    );
    stack.heal();
    await ordered('POST', 'in-doubt/settle', { transaction: open?.transaction });
    const answer = await undecided;
    expect(bodyOf(answer)).toMatchObject({ outcome: 'committed', results: [1] });
    await untilAllVote(stack);
    await expect.poll(doubt, patience).toMatchObject({ transactions: [], locks: [] });
  });

  it('contains a write as committed if a region has not received its commit', async () => {
    const [held] = hangIn([third], false, commitsOf('doubt:late'));
    await write(stack, [['SET', 'doubt:late', '1']]);
    await held?.hit;
    const { transactions, locks } = await doubt();
    expect(transactions).toMatchObject([{ state: 'committing', keys: ['doubt:late'] }]);
    expect(locks).toMatchObject([{ region: third.id, key: 'doubt:late', resolution: 'committed' }]);
    stack.heal();
    await expectWhole(stack);
  });
});

/** This test comes last: it loses data. */
describe('a region that is force-recovered', () => {
  it('restores a stack without a complete copy from the data of that region', async () => {
    await set('believed', 'old');
    await first.redis.snapshot();
    await set('believed', 'new');
    await stack.killWorker();
    await Promise.all([first.redis.rollback(), second.redis.wipe(), third.redis.wipe()]);
    await stack.restartWorker();
    const refused = async () => bodyOf(await write(stack, [['SET', 'other', '1']])).type;
    await expect.poll(refused, patience).toBe('/problems/region-lost');
    const unconfirmed = await ask(stack, 'POST', `regions/${first.id}/force-recover`, {
      confirm: 'yes',
    });
    expect(unconfirmed.status).toBe(400);
    await ordered('POST', `regions/${first.id}/force-recover`, { confirm: first.id });
    await expectWhole(stack);
    expect(await stack.everywhere('believed')).toEqual(['old', 'old', 'old']);
    await set('believed', 'newest');
    expect(await strongRead(stack, 'believed', second.id)).toBe('newest');
  });
});
