import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  drawMaximum,
  drawOf,
  lengthOf,
  wholeOf,
  withoutRoom,
} from '../../functions/region/whole-reads.ts';
import { compileReads } from '../../shared/commands/compile.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly } from './direct.ts';
import { roundOf, snapshotOf } from './fixtures.ts';
import { servers, startRedisServer, type TestServer } from './servers.ts';

/** Reads of whole hashes and sets, which a region bounds by a draw. */

const maximum = limits.elementsReadUnmeasured;

/** Takes a snapshot of the commands, which are given as words. */
async function answers(
  client: RegionClient,
  ...commands: readonly string[]
): Promise<readonly RawReply[]> {
  const compiled = compileReads(commands.map((words) => words.split(' ')));
  if (!compiled.ok) throw new Error(compiled.detail);
  const result = await client.snapshot(snapshotOf(compiled.keys, compiled.commands), 0);
  if (result.kind !== 'read') throw new Error(JSON.stringify(result));
  return result.replies;
}

function itemsIn(reply: RawReply | undefined): readonly string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}

function sorted(reply: RawReply): readonly string[] {
  return itemsIn(reply).toSorted();
}

function pairsOf(reply: RawReply | undefined): ReadonlyMap<string, string> {
  const items = itemsIn(reply);
  const fields = items.filter((_, at) => at % 2 === 0);
  return new Map(fields.map((field, at) => [field, items[2 * at + 1] ?? '']));
}

const tooLarge = { error: 'ERR the replies are too large; ask for less at once' };

describe.each(servers)('a read of a whole collection in %s', (_name, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    await server.redis.flushall();
    await client.round(roundOf({}), 0);
  });

  it.each([1, 3, 600])('replies every element of %d', async (count) => {
    const { redis } = server;
    const ids = Array.from({ length: count }, (_, at) => String(1_000 + at));
    await redis.sadd('s', ...ids.map((id) => `m${id}`));
    await redis.sadd('n', ...ids);
    await redis.hset('h', ...ids.flatMap((id) => [`f${id}`, `v${id}`]));
    const replies = await answers(client, 'SMEMBERS s', 'SMEMBERS n', 'HGETALL h');
    expect(replies.map(sorted)).toEqual([
      ids.map((id) => `m${id}`),
      ids,
      [...ids.map((id) => `f${id}`), ...ids.map((id) => `v${id}`)],
    ]);
    expect(pairsOf(replies[2])).toEqual(new Map(ids.map((id) => [`f${id}`, `v${id}`])));
    expect((await answers(client, 'HKEYS h')).map(sorted)).toEqual([ids.map((id) => `f${id}`)]);
    expect((await answers(client, 'HVALS h')).map(sorted)).toEqual([ids.map((id) => `v${id}`)]);
  });

  it('replies the same to equal reads of one snapshot, and pairs in all that read one key', async () => {
    await server.redis.hset('h', 'b', '2', 'a', '1');
    const [one, other] = await answers(client, 'HGETALL h', 'HGETALL h');
    expect(one).toHaveLength(4);
    expect(other).toEqual(one);
    const [all, values, fields] = await answers(client, 'HGETALL h', 'HVALS h', 'HKEYS h');
    expect([...pairsOf(all)]).toEqual(
      itemsIn(fields).map((field, at) => [field, itemsIn(values)[at]]),
    );
  });

  it('replies an empty array for a missing key, and an error for one of another type', async () => {
    await server.redis.set('text', 'value');
    for (const name of ['HGETALL', 'HKEYS', 'HVALS', 'SMEMBERS']) {
      const isWrongType = { error: expect.stringMatching(/^WRONGTYPE /) };
      expect(await answers(client, `${name} none`, `${name} text`, 'GET text')).toEqual([
        [],
        isWrongType,
        'value',
      ]);
    }
  });
});

describe('a read of a whole collection in redis-server', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
    await client.round(roundOf({}), 0);
  });
  afterAll(() => server.stop());

  const fill = async (key: string, count: number, kind: 'set' | 'hash') => {
    const [add, items] = kind === 'set' ? ['SADD', 'i'] : ['HSET', 'i, i'];
    const steps = `for i = 1, ARGV[1] do redis.call('${add}', KEYS[1], ${items}) end`;
    await server.redis.eval(steps, 1, key, count);
  };
  /** The calls per command of `body`, without those of scripts and of the connection, and the bytes of its replies. */
  const costOf = async (body: () => Promise<unknown>) => {
    await server.redis.config('RESETSTAT');
    await body();
    const stats = await server.redis.info('all');
    const calls = [
      ...stats.matchAll(/^cmdstat_(hlen|scard|hgetall|hvals|smembers|\w+rand\w+):calls=(\d+)/gm),
    ];
    const bytes = Number(/^total_net_output_bytes:(\d+)/m.exec(stats)?.[1]);
    return {
      calls: Object.fromEntries(calls.map(([, name, count]) => [name, Number(count)])),
      bytes,
    };
  };

  it.each([3, 100, 600])('has %d elements, in the order of the native command', async (count) => {
    const { redis } = server;
    const ids = Array.from({ length: count }, (_, at) => String((at * 7_919) % 10_007));
    await redis.del('s', 'n', 'h');
    await redis.sadd('s', ...ids.map((id) => `m${id}`));
    await redis.sadd('n', ...ids);
    await redis.hset('h', ...ids.flatMap((id) => [`f${id}`, `v${id}`]));
    for (const words of ['SMEMBERS s', 'SMEMBERS n', 'HGETALL h', 'HKEYS h', 'HVALS h']) {
      const [name = '', key = ''] = words.split(' ');
      expect(await answers(client, words)).toEqual([await redis.call(name, key)]);
    }
    await redis.del('s', 'n', 'h');
  });

  it('of values alone takes the length first, and then the values natively', async () => {
    await fill('h', 300, 'hash');
    let replies: readonly RawReply[] = [];
    const read = async () => {
      replies = await answers(client, 'HVALS h', 'HVALS none', 'HVALS text', 'SMEMBERS s');
    };
    await server.redis.set('text', 'value');
    await fill('s', 300, 'set');
    expect((await costOf(read)).calls).toEqual({ hlen: 3, hvals: 3, srandmember: 1, smembers: 1 });
    const values = await server.redis.hvals('h');
    const members = await server.redis.smembers('s');
    const wrong = { error: expect.stringContaining('WRONGTYPE') };
    expect(replies).toEqual([values, [], wrong, members]);
    await server.redis.del('h', 's', 'text');
  });

  it('is one command up to the maximum, and with one element more it is complete as well', async () => {
    await fill('s', maximum, 'set');
    let reply: RawReply = null;
    const read = async () => {
      [reply = null] = await answers(client, 'SMEMBERS s');
    };
    expect((await costOf(read)).calls).toEqual({ srandmember: 1 });
    expect(new Set(reply)).toHaveLength(maximum);
    await server.redis.sadd('s', 'one more');
    expect((await costOf(read)).calls).toEqual({ srandmember: 1, scard: 1, smembers: 1 });
    expect(new Set(reply)).toHaveLength(maximum + 1);
    await server.redis.del('s');
  });

  it('shares the maximum with the other reads of its snapshot', async () => {
    const half = maximum / 2;
    await fill('s', half, 'set');
    await fill('h', half + 1, 'hash');
    let replies: readonly RawReply[] = [];
    const { calls } = await costOf(async () => {
      replies = await answers(client, 'SMEMBERS s', 'HGETALL h');
    });
    expect(calls).toEqual({ srandmember: 1, hrandfield: 1, hlen: 1, smembers: 1, hgetall: 1 });
    expect(replies.map((reply) => (Array.isArray(reply) ? reply.length : reply))).toEqual([
      half,
      2 * (half + 1),
    ]);
    await server.redis.del('s', 'h');
  });

  it('is refused by its length if no reply could hold it, and the others are answered', async () => {
    const most = Math.floor(limits.snapshotBytes / 12);
    await fill('s', most + 1, 'set');
    await server.redis.set('text', 'value');
    let replies: readonly RawReply[] = [];
    const { calls, bytes } = await costOf(async () => {
      replies = await answers(client, 'SMEMBERS s', 'GET text');
    });
    expect(replies).toEqual([tooLarge, 'value']);
    expect(calls).toEqual({ srandmember: 1, scard: 1 });
    // An element of six digits has some 12 bytes in the protocol.
    expect(bytes).toBeLessThan(maximum * 14);
    await server.redis.del('s');
  });
});

describe('the draw for a whole collection', () => {
  it.each([
    ['SMEMBERS k', 'SRANDMEMBER k 6', 'SCARD k'],
    ['HGETALL k', 'HRANDFIELD k 6 WITHVALUES', 'HLEN k'],
    ['HVALS k', 'HLEN k', 'HLEN k'],
    ['HKEYS k', 'HRANDFIELD k 6', 'HLEN k'],
  ])('of %s is %s, and its length %s', (given, draw, length) => {
    expect(drawOf(given.split(' '), 5)).toEqual(draw.split(' '));
    expect(lengthOf(given.split(' '))).toEqual(length.split(' '));
  });

  it('leaves other commands and their replies as they are', () => {
    expect(drawOf(['SRANDMEMBER', 'k', '9'], 5)).toEqual(['SRANDMEMBER', 'k', '9']);
    expect(wholeOf(['SRANDMEMBER', 'k', '9'], ['a', 'b'], 1)).toEqual(['a', 'b']);
  });

  it('is whole up to the maximum of elements', () => {
    const pairs = ['a', '1', 'b', '2'];
    expect(wholeOf(['HGETALL', 'k'], pairs, 2)).toEqual(pairs);
    expect(wholeOf(['HVALS', 'k'], 0, 2)).toEqual([]);
    expect(wholeOf(['HVALS', 'k'], 1, 2)).toBeNull();
    expect(wholeOf(['HGETALL', 'k'], pairs, 1)).toBeNull();
    expect(wholeOf(['SMEMBERS', 'k'], ['a', 'b'], 1)).toBeNull();
    expect(wholeOf(['SMEMBERS', 'k'], { error: 'WRONGTYPE' }, 1)).toEqual({ error: 'WRONGTYPE' });
  });

  it('shares the limit between the reads of a snapshot', () => {
    const read = ['HGETALL', 'k'];
    expect(drawMaximum([['GET', 'k']])).toBe(maximum);
    expect(drawMaximum([read, ['GET', 'k']])).toBe(maximum);
    expect(drawMaximum([read, read, ['SMEMBERS', 's']])).toBe(Math.floor(maximum / 3));
  });

  it('is not followed by reads whose replies have no room together', () => {
    const items = limits.snapshotBytes / 12;
    const reads = [
      ['SMEMBERS', 'a'],
      ['HGETALL', 'b'],
      ['HVALS', 'c'],
      ['SMEMBERS', 'd'],
    ];
    expect(withoutRoom(reads, [items / 2, items / 4 + 1, items / 2 - 2, 9])).toEqual([
      false,
      true,
      false,
      true,
    ]);
    expect(withoutRoom(reads, [null, 1, 1, 1])).toEqual([false, false, false, false]);
  });
});
