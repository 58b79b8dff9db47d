/** Copies random values between servers, and compares values and digests. */
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type {
  CopyForm,
  CopyItem,
  CopyKey,
  CopyReply,
  CopyStep,
} from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly } from './direct.ts';
import { contentsOf, filling, perform } from './filling.ts';
import { executed, roundOf } from './fixtures.ts';
import { startEmbedded, startRedisServer, type TestServer } from './servers.ts';

/** A server, and a client of its region by the scripts. */
interface Region {
  readonly server: TestServer;
  readonly client: RegionClient;
}

async function openRegion(kind: 'redis-server' | 'embedded'): Promise<Region> {
  const server = await (kind === 'embedded' ? startEmbedded() : startRedisServer());
  return { server, client: connectDirectly(server.redis) };
}

/** Copies everything of `source` to `target` as a coordinator does: in steps, and again for the keys left over. */
async function copyAll(source: Region, target: Region, form: CopyForm): Promise<void> {
  let number = 1;
  const write = async (copy: CopyStep) => {
    const reply = await target.client.round(roundOf({ role: 'copying', copy }), 0);
    return executed(reply).copy;
  };
  const read = async (copy: CopyStep) => {
    const reply = executed(await source.client.round(roundOf({ copy }), 0)).copy;
    if (reply?.kind !== 'read') throw new Error(`not read: ${JSON.stringify(reply)}`);
    return reply;
  };
  await write({ kind: 'begin', token: 'token', number, replaces: [] });
  let cursor: string | null = '0';
  while (cursor !== null) {
    const found: Extract<CopyReply, { kind: 'read' }> = await read({
      kind: 'scan',
      cursor,
      count: 1_000,
      form,
    });
    cursor = found.cursor;
    let [items, left]: readonly [readonly CopyItem[], readonly string[]] = [
      found.items,
      found.left,
    ];
    while (items.length > 0) {
      number += 1;
      const data = items.map((item) => item.data);
      const written = await write({ kind: 'write', token: 'token', number, data });
      if (written?.kind !== 'written') throw new Error(`not written: ${JSON.stringify(written)}`);
      const failed = new Set(written.failed.map(({ key }) => key));
      const again: CopyKey[] = [...failed].map((key) => ({ key, from: '' }));
      const on = items.flatMap(({ key, next }) =>
        next === null || failed.has(key) ? [] : [{ key, from: next }],
      );
      const keys = [...on, ...again, ...left.map((key) => ({ key, from: '' }))];
      if (keys.length === 0) break;
      const more = await read({ kind: 'read', keys, form: failed.size > 0 ? 'logical' : form });
      [items, left] = [more.items, more.left];
    }
  }
}

async function digestsOf({ client }: Region): Promise<ReadonlyMap<string, string | null>> {
  const digests = new Map<string, string | null>();
  let cursor: string | null = '0';
  while (cursor !== null) {
    const result = await client.inspect(0, { kind: 'scan', cursor, count: 100 }, 0);
    if (result.kind === 'silent') throw new Error(result.reason);
    for (const { key, digest } of result.keys) digests.set(key, digest);
    cursor = result.cursor;
  }
  return digests;
}

async function digestOf({ client }: Region, key: Buffer): Promise<string | null> {
  const keys = [key.toString('latin1')];
  const result = await client.inspect(0, { kind: 'keys', keys }, 0);
  if (result.kind === 'silent') throw new Error(result.reason);
  return result.keys[0]?.digest ?? null;
}

async function contentsIn(redis: Redis, keys: readonly Buffer[]): Promise<readonly string[]> {
  return Promise.all(keys.map((key) => contentsOf(redis, key)));
}

/** The embedded server is slow with large streams, so it gets fewer values. */
const ways = [
  ['redis-server', 'redis-server', 'dump', 40],
  ['redis-server', 'redis-server', 'logical', 40],
  ['redis-server', 'embedded', 'dump', 8],
  ['embedded', 'redis-server', 'dump', 8],
] as const;

describe.each(ways)('a copy from %s to %s in the form %s', (from, to, form, times) => {
  let source: Region;
  let target: Region;
  beforeAll(async () => {
    [source, target] = await Promise.all([openRegion(from), openRegion(to)]);
  });
  afterAll(() => Promise.all([source, target].map(({ server }) => server.stop())));

  const wipe = () => Promise.all([source, target].map(({ server }) => server.redis.flushall()));

  it('has every key, byte, score, expiry and pending entry, and equal digests', async () => {
    const property = fc.asyncProperty(fc.array(filling, { maxLength: 8 }), async (fillings) => {
      await wipe();
      for (const { key, commands } of fillings) {
        await source.server.redis.del(key);
        for (const command of commands) await perform(source.server.redis, command);
      }
      const keys = fillings.map(({ key }) => key);
      await copyAll(source, target, form);
      expect(await contentsIn(target.server.redis, keys)).toEqual(
        await contentsIn(source.server.redis, keys),
      );
      expect(await digestsOf(target)).toEqual(await digestsOf(source));
    });
    await fc.assert(property, { numRuns: Number(process.env.COPIES ?? times) });
  });
});

describe('a copy of a large stream', () => {
  let source: Region;
  let target: Region;
  beforeAll(async () => {
    [source, target] = await Promise.all([openRegion('redis-server'), openRegion('redis-server')]);
  });
  afterAll(() => Promise.all([source, target].map(({ server }) => server.stop())));

  it('carries the pending entries of groups in pieces, even those of deleted entries', async () => {
    const { redis } = source.server;
    const key = Buffer.from('stream');
    await redis.xgroup('CREATE', key, 'group', '0', 'MKSTREAM');
    await redis.xgroup('CREATE', key, 'other', '0');
    const count = 2_000;
    for (let at = 1; at <= count; at += 1) await redis.xadd(key, `${at}-0`, 'f', 'x'.repeat(1_000));
    for (const [group, name, read] of [
      ['group', 'a', '1500'],
      ['group', 'b', '300'],
      ['other', 'c', '900'],
    ] as const) {
      await redis.xreadgroup('GROUP', group, name, 'COUNT', read, 'STREAMS', key, '>');
    }
    const deleted = Array.from({ length: 1_200 }, (_, at) => `${Math.floor(at * 1.4) + 1}-0`);
    await redis.xdel(key, ...deleted);
    await copyAll(source, target, 'dump');
    expect(await contentsIn(target.server.redis, [key])).toEqual(await contentsIn(redis, [key]));
    expect(await digestOf(target, key)).toBe(await digestOf(source, key));
  });
});

describe('a digest in redis-server', () => {
  let region: Region;
  beforeAll(async () => {
    region = await openRegion('redis-server');
  });
  afterAll(() => region.server.stop());

  it('changes with every change of a key', async () => {
    const property = fc.asyncProperty(filling, async ({ key, commands, change }) => {
      const { redis } = region.server;
      await redis.flushall();
      for (const command of commands) await perform(redis, command);
      const before = await digestOf(region, key);
      await perform(redis, change);
      const after = await digestOf(region, key);
      expect(after).not.toBe(before);
      await perform(redis, ['PEXPIREAT', key, '9999999999999']);
      expect(await digestOf(region, key)).not.toBe(after);
    });
    await fc.assert(property, { numRuns: 100 });
  });

  it('returns a cursor before the end if values are large', async () => {
    const { redis } = region.server;
    await redis.flushall();
    const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
    for (const key of keys) await redis.set(key, 'x'.repeat(limits.valueBytes));
    const some = await region.client.inspect(0, { kind: 'keys', keys }, 0);
    expect(some.kind === 'inspected' && some.keys.length).toBe(8);
    const scanned = await region.client.inspect(0, { kind: 'scan', cursor: '0', count: 40 }, 0);
    expect(scanned.kind === 'inspected' && scanned.cursor).not.toBe(null);
    expect((await digestsOf(region)).size).toBe(keys.length);
  });
});
