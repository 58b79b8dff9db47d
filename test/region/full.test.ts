/** Tests rounds on a server without memory. test/e2e/full.test.ts tests whole stacks. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Part } from '../../shared/contracts/round.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  commitOf,
  continuingOnError,
  del,
  executed,
  flush,
  increment,
  part,
  pop,
  prepareOf,
  publish,
  read,
  rename,
  roundOf,
  script,
  set,
  write,
} from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

let server: TestServer;

beforeAll(async () => {
  server = await startRedisServer();
});
beforeEach(() => server.redis.flushall());
afterEach(() => server.redis.config('SET', 'maxmemory', '0'));
afterAll(() => server.stop());

const setFull = () => server.redis.config('SET', 'maxmemory', '1');
const keysHeld = async () => (await server.redis.keys('*')).sort();

// A full server refuses the first command of a script that takes memory, unless the script has written before.
describe('a server without memory', () => {
  let client: RegionClient;
  beforeAll(() => {
    client = connectDirectly(server.redis);
  });

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));

  /** Prepares and commits a transaction while the server is full. */
  async function carryOut(keys: readonly string[], ...parts: readonly Part[]) {
    await setFull();
    const { votes } = await send({ prepares: [prepareOf(1, keys, ...parts)] });
    expect(votes.map(({ kind }) => kind)).toEqual(['yes']);
    const { decisions } = await send({ decisions: [commitOf(1, keys)] });
    expect(decisions).toEqual(['acknowledged']);
    await server.redis.config('SET', 'maxmemory', '0');
  }

  async function fill(): Promise<void> {
    await server.redis.mset('k', 'value', 'other', 'value');
    await server.redis.rpush('list', 'a', 'b', 'c');
    await server.redis.hset('hash', 'f', '1', 'g', '2');
    await server.redis.sadd('set', 'a', 'b', 'c');
    await server.redis.zadd('zset', 1, 'a', 2, 'b');
    await server.redis.rpush('large', ...Array.from({ length: 1_000 }, (_, at) => `item ${at}`));
  }

  const future = String(Date.now() + 1_000_000);
  const freeing: readonly (readonly [string, readonly string[], Operation])[] = [
    ['DEL', ['k', 'other'], del('k', 'other')],
    ['PEXPIREAT', ['k'], write('PEXPIREAT', 'k', future)],
    ['PERSIST', ['k'], write('PERSIST', 'k')],
    ['GETDEL', ['k'], write('GETDEL', 'k')],
    ['LPOP', ['list'], write('LPOP', 'list')],
    ['LPOP of a large list', ['large'], write('LPOP', 'large', '500')],
    ['LTRIM', ['large'], write('LTRIM', 'large', '0', '1')],
    ['LREM', ['list'], write('LREM', 'list', '1', 'b')],
    ['HDEL', ['hash'], write('HDEL', 'hash', 'f')],
    ['SREM', ['set'], write('SREM', 'set', 'a')],
    ['SPOP', ['set'], pop('set', '2', 1)],
    ['ZREM', ['zset'], write('ZREM', 'zset', 'a')],
    ['RENAME', ['k', 'other'], rename('k', 'other')],
    ['PUBLISH', ['lockstep:channel:news'], publish('news', 'none')],
    ['a read', ['k'], read(['GET', 'k'])],
    ['a script that deletes', ['k'], script("return redis.call('DEL', KEYS[1])", ['k'])],
  ];

  it.each(freeing)('carries out %s', async (_, keys, operation) => {
    await fill();
    const given = operation.kind === 'publish' ? [operation.args[0] ?? ''] : keys;
    await carryOut(given, part(operation));
  });

  it('deletes every key', async () => {
    await fill();
    await carryOut(flush.args, part(flush));
    expect((await keysHeld()).filter((key) => !key.startsWith('lockstep:'))).toEqual([]);
  });

  const growing: readonly (readonly [string, Operation])[] = [
    ['SET', set('k', 'x')],
    ['INCR', increment('n')],
    ['RPUSH', write('RPUSH', 'list', 'x')],
    ['XADD that trims', { ...write('XADD', 'k', 'MAXLEN', '1', '1-1', 'f', 'v'), kind: 'trim' }],
    ['XGROUP CREATE', { ...write('XGROUP', 'CREATE', 'k', 'g', '$', 'MKSTREAM'), writes: [2] }],
    ['a script that sets', script("return redis.call('SET', KEYS[1], 'x')", ['k'])],
    ['a script that catches it', script("return redis.pcall('SET', KEYS[1], 'x')", ['k'])],
    [
      'a script whose own pcall catches it',
      script("pcall(redis.call, 'SET', KEYS[1], 'x') return 1", ['k']),
    ],
  ];

  it.each(growing)('denies %s, naming the part, and leaves nothing', async (_, operation) => {
    await fill();
    await send({});
    const before = await keysHeld();
    await setFull();
    const keys = ['k', 'n', 'list'];
    const parts = [part(del('list')), continuingOnError(part(operation))];
    const { votes, isFull } = await send({ prepares: [prepareOf(1, keys, ...parts)] });
    expect(votes).toEqual([{ kind: 'denied', code: 'OOM', reason: expect.any(String), part: 1 }]);
    expect(isFull).toBe(true);
    await send({ decisions: [abortOf(1, keys)] });
    expect(await keysHeld()).toEqual(before);
  });

  it.each([
    [part(write('LPOP', 'none'), write('RPUSH', 'list', 'x'))],
    [part(write('PERSIST', 'none')), part(set('k', 'x'))],
    [
      part(
        script("redis.call('LPOP', KEYS[1]) return redis.call('SET', KEYS[2], 'x')", ['none', 'k']),
      ),
    ],
  ])('denies a command that takes memory behind one that takes none: %o', async (...parts) => {
    await fill();
    await setFull();
    const keys = ['k', 'list', 'none'];
    const { votes } = await send({ prepares: [prepareOf(1, keys, ...parts)] });
    expect(votes).toMatchObject([{ kind: 'denied', code: 'OOM' }]);
  });

  it('denies a transaction that takes memory behind one that takes none', async () => {
    await fill();
    await setFull();
    const prepares = [
      prepareOf(1, ['none'], part(write('LPOP', 'none'))),
      prepareOf(2, ['list'], part(write('RPUSH', 'list', 'x'))),
    ];
    const { votes } = await send({ prepares });
    expect(votes.map(({ kind }) => kind)).toEqual(['yes', 'denied']);
  });

  it('reports fullness only if it matters, and always to a region that does not vote', async () => {
    const asked = async (given: Parameters<typeof roundOf>[0]) => (await send(given)).isFull;
    const prepares = [prepareOf(1, ['k'], part(del('k')))];
    expect(await asked({ prepares })).toBeNull();
    expect(await asked({ prepares: [prepareOf(2, ['m'], part(set('m', '1')))] })).toBe(false);
    expect(await asked({ role: 'out' })).toBe(false);
    await setFull();
    expect(await asked({ role: 'out' })).toBe(true);
  });
});
