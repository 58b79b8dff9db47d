/** Kills and cuts off parts of a stack under random writes, and compares the result with a plain Redis. */
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dumpOf } from '../region/oracle/redis-oracle.ts';
import { Random } from '../simulation/random.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { expectWhole, memberChanges, untilState } from './members.ts';
import { groups, readsOf, Storm } from './storm.ts';
import { patience, type WriteOperation, write } from './writes.ts';

/** A region is evicted soon, so that it is out and back within a test. */
const variables = {
  LOCKSTEP_VOTE_DEADLINE_MS: '1000',
  LOCKSTEP_ROUND_TIMEOUT_MS: '1200',
  LOCKSTEP_READ_TIMEOUT_MS: '1200',
  LOCKSTEP_OUT_AFTER_MS: '1500',
};

const seed = Number(process.env.SEED ?? 1);

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack({ variables }), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

async function kill(): Promise<void> {
  await stack.killWorker();
  await stack.restartWorker();
}

async function outAndBack(region: TestRegion, between: () => Promise<void>): Promise<void> {
  await untilState(stack, region.id, 'out');
  await between();
}

/** All the troubles of a storm, one after another. */
function troubles(storm: Storm, random: Random): readonly (() => Promise<void>)[] {
  const region = () => random.pick(stack.regions);
  return [
    kill,
    async () => {
      const struck = region();
      await struck.redis.kill();
      await struck.redis.restart();
    },
    async () => {
      const struck = region();
      await struck.redis.kill();
      await outAndBack(struck, () => storm.more(30));
      await kill();
      await storm.more(5);
      await struck.redis.restart();
      await untilState(stack, struck.id, 'voter');
    },
    kill,
    async () => {
      const struck = region();
      struck.gateway.faults.setLine({ reach: 'answers-lost' });
      await outAndBack(struck, () => storm.more(30));
      struck.gateway.faults.setLine({ reach: 'whole' });
      await untilState(stack, struck.id, 'voter');
    },
    async () => {
      const struck = region();
      struck.gateway.faults.setLine({ reach: 'answers-lost' });
      await kill();
      struck.gateway.faults.setLine({ reach: 'whole' });
    },
  ];
}

/** Replies in one form: integers and texts alike, unordered ones sorted. */
function comparable(reply: unknown, [name]: WriteOperation): unknown {
  if (!Array.isArray(reply)) return reply === null ? null : String(reply);
  const items = reply.map((item) => comparable(item, ['']));
  return name === 'SMEMBERS' ? items.map(String).toSorted() : items;
}

async function ask(ops: readonly WriteOperation[]): Promise<readonly unknown[]> {
  const replies = await Promise.all(
    ops.map(([name = '', ...words]) => plain.client.call(String(name), ...words)),
  );
  return replies.map((reply, at) => comparable(reply, ops[at] ?? ['']));
}

/** Repeats the writes in one Redis, in their order, and expects the same replies and reads. */
async function expectAsOne({ done, seen }: Storm): Promise<void> {
  const inOrder = done.toSorted((one, other) => one.sequence - other.sequence);
  expect(new Set(inOrder.map(({ sequence }) => sequence)).size).toBe(done.length);
  const reads = Map.groupBy(seen, ({ group, last }) => `${group} ${last}`);
  const sequences = new Map(done.map(({ id, sequence }) => [id, sequence]));
  for (const { last, least, by, group } of seen) {
    const found = last === null ? 0 : (sequences.get(last) ?? Number.NaN);
    expect(found, `${by} read ${group} as of ${last}`).toBeGreaterThanOrEqual(least);
  }
  for (const { id, sequence, ops, results } of inOrder) {
    const found = results.map((result, at) => comparable(result, ops[at] ?? ['']));
    expect(found, `${sequence} (${id}): ${JSON.stringify(ops).slice(0, 500)}`).toEqual(
      await ask(ops),
    );
    for (const group of groups) {
      for (const { values, by } of reads.get(`${group} ${id}`) ?? []) {
        const read = values.map((value, at) => comparable(value, readsOf(group)[at] ?? ['']));
        const expected = await ask(readsOf(group));
        expect(read, `${by} read ${group} as of ${id}`).toEqual(expected);
      }
    }
  }
}

describe('a storm of scripts, flushes, messages and writes to large collections', () => {
  it('leaves the same data as one Redis, although coordinator and regions are killed', async () => {
    const random = new Random(seed);
    const storm = new Storm(stack, seed, 6);
    for (const trouble of troubles(storm, random)) {
      await storm.more(random.between(30, 60));
      await trouble();
    }
    await storm.more(40);
    await storm.finish();
    expect(storm.strange).toEqual([]);
    await write(stack, [['SET', 'end', '1']], { ack: 'confirmed' });
    await expectWhole(stack);
    await expectAsOne(storm);
    await plain.client.set('end', '1');
    const expected = await dumpOf(plain.client);
    for (const { id, client } of stack.regions) {
      expect(await dumpOf(client), id).toEqual(expected);
      const left = async () => (await client.keys('lockstep:*:*:*')).concat(await stack.locks());
      await expect.poll(left, patience).toEqual([]);
    }
    expect(storm.done.length).toBeGreaterThan(200);
    // Every eviction was for silence: no region lost data, or diverged.
    const changes = await memberChanges(stack, 0);
    const causes = changes.flatMap(({ member }) => (member.event === 'out' ? [member.cause] : []));
    expect(new Set(causes)).toEqual(new Set(['silent']));
  });
});
