/** Continues from a region as release 0.1 has left it, which was recorded, and expects the results of that release. */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { lockKey, readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  command,
  commitOf,
  executed,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from './fixtures.ts';
import { servers, type TestServer } from './servers.ts';

const flat = z.array(z.string());
const keyLine = z.object({ key: z.string(), expiry: z.number() });

/**
 * A line of the record: a key of the region while all transactions are undecided, one after the commit or the abort of
 * all of them, or a transaction.
 */
const line = z.union([
  z.object({
    in: z.enum(['undecided', 'commit', 'abort']),
    ...keyLine.shape,
    ...z.object({ type: z.literal('string'), value: z.string() }).shape,
  }),
  z.object({
    in: z.enum(['undecided', 'commit', 'abort']),
    ...keyLine.shape,
    type: z.literal('hash'),
    value: z.array(z.tuple([z.string(), z.string()])),
  }),
  z.object({
    in: z.enum(['undecided', 'commit', 'abort']),
    ...keyLine.shape,
    type: z.enum(['set', 'zset', 'list']),
    value: flat,
  }),
  z.object({ in: z.literal('transactions'), sequence: z.number(), keys: flat }),
]);

type Line = z.infer<typeof line>;
type KeyLine = Exclude<Line, { in: 'transactions' }>;

const lines = readFileSync('test/storage-formats/region-0.1.jsonl', 'utf8')
  .trimEnd()
  .split('\n')
  .map((text) => line.parse(JSON.parse(text)));
const transactions = lines.flatMap((one) => (one.in === 'transactions' ? [one] : []));

function keysIn(state: KeyLine['in']): readonly KeyLine[] {
  return lines.flatMap((one) => (one.in === state ? [one] : []));
}

/** The highest pair that the region had acknowledged. */
const pair = [3, 'third'] as const;

async function restore(redis: Redis, given: KeyLine): Promise<void> {
  const { key } = given;
  if (given.type === 'string') await redis.set(key, given.value);
  if (given.type === 'hash') await redis.hset(key, ...given.value.flat());
  if (given.type === 'set') await redis.sadd(key, ...given.value);
  if (given.type === 'list') await redis.rpush(key, ...given.value);
  if (given.type === 'zset') {
    const pairs = given.value.flatMap((member, at) =>
      at % 2 === 0 ? [given.value[at + 1] ?? '', member] : [],
    );
    await redis.zadd(key, ...pairs);
  }
  if (given.expiry > 0) await redis.call('PEXPIREAT', key, String(given.expiry));
}

async function valueAt(redis: Redis, { key, type }: KeyLine): Promise<unknown> {
  if (type === 'string') return redis.get(key);
  if (type === 'hash') return Object.entries(await redis.hgetall(key)).toSorted();
  if (type === 'set') return (await redis.smembers(key)).toSorted();
  if (type === 'zset') return redis.zrange(key, '0', '-1', 'WITHSCORES');
  return redis.lrange(key, '0', '-1');
}

async function expectUserKeys(redis: Redis, expected: readonly KeyLine[]): Promise<void> {
  const found = (await redis.keys('*')).filter((key) => !key.startsWith('lockstep:'));
  expect(found.toSorted()).toEqual(expected.map(({ key }) => key).toSorted());
  for (const one of expected) {
    expect([one.key, await valueAt(redis, one)]).toEqual([one.key, one.value]);
    const expiry = Number(await redis.call('PEXPIRETIME', one.key));
    expect([one.key, expiry]).toEqual([one.key, one.expiry]);
  }
}

describe.each(servers)('a region that release 0.1 has left, in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeEach(async () => {
    server = await start();
    client = connectDirectly(server.redis);
    for (const one of keysIn('undecided')) await restore(server.redis, one);
    return () => server.stop();
  });

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf({ lastAcknowledged: pair, ...given }), 0));

  it.each(['commit', 'abort'] as const)(
    'ends as there if all its transactions %s',
    async (outcome) => {
      const decide = outcome === 'commit' ? commitOf : abortOf;
      const decisions = transactions.map(({ sequence, keys }) => decide(sequence, keys));
      const reply = await send({ decisions });
      expect(reply.decisions).toEqual(decisions.map(() => 'acknowledged'));
      await expectUserKeys(server.redis, keysIn(outcome));
      expect(await server.redis.keys('lockstep:*')).toEqual(['lockstep:0:state']);
      expect(await readState(server.redis)).toMatchObject({ format: 3, counter: 4 });
    },
  );

  it('keeps its locks and settled transactions, and refuses a pair that it never had', async () => {
    const lost = await client.round(roundOf({ lastAcknowledged: [3, 'other'] }), 0);
    expect(lost).toEqual({ kind: 'refused', refusal: { kind: 'lost' } });
    const late = [20, 21, 23].map((sequence) => prepareOf(sequence, ['x'], part(set('x', '1'))));
    const free = prepareOf(22, ['x'], part(set('x', '1')));
    const locked = prepareOf(24, ['number'], part(set('number', '1')));
    const { votes } = await send({ prepares: [...late, locked, free] });
    expect(votes.map(({ kind }) => kind)).toEqual(['late', 'late', 'late', 'locked', 'yes']);
    const keys = transactions.flatMap((transaction) => transaction.keys);
    expect([...(await readLocks(server.redis)).keys()].toSorted()).toEqual(
      [...keys, 'x'].toSorted(),
    );
    expect(await server.redis.exists(lockKey)).toBe(1);
  });

  it('is read strongly: the locks and the old values, and the new ones once they are decided', async () => {
    const get = [command(['GET', 'number'])];
    const before = await client.snapshot(snapshotOf(['number'], get), 0);
    expect(before).toMatchObject({ replies: ['41'], locks: [{ key: 'number', holder: [1, 5] }] });
    const settle = [commitOf(5, ['number'])];
    const after = await client.snapshot(snapshotOf(['number'], get, { settle }), 0);
    expect(after).toEqual({ kind: 'read', replies: ['42'], locks: [] });
  });
});
