/** Counts the Redis commands that a write or a read costs a region: a bill counts those inside scripts too. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { connectDirectly } from './direct.ts';
import {
  command,
  commitOf,
  del,
  executed,
  increment,
  part,
  prepareOf,
  roundOf,
  script,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** As rate limiters do it. */
const fixedWindow = `local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count`;

let server: TestServer;
let client: RegionClient;
const loaded = new Set<string>();
let sequence = 0;

beforeAll(async () => {
  server = await startRedisServer();
  // By its digest, as in a region that knows the text.
  client = connectDirectly(server.redis, (text) => {
    const digest = createHash('sha1').update(text).digest('hex');
    if (!loaded.has(digest)) void server.redis.script('LOAD', text);
    loaded.add(digest);
    return digest;
  });
  executed(await client.round(roundOf({}), 0));
  await server.redis.set('n', '1');
  await server.redis.hset('h', 'f', '1');
  await server.redis.set('k', 'value');
});
afterAll(() => server.stop());

/** The commands that a region executes for `work`, by name, but for loading a script. */
async function commandsOf(work: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
  await server.redis.config('RESETSTAT');
  await work();
  const stats = await server.redis.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].flatMap(
    ([, name = '', count]) => (/^(?:info|config|script)/.test(name) ? [] : [[name, Number(count)]]),
  );
  return Object.fromEntries(calls);
}

/** Sends the operations as a write alone: a round that prepares, and one that commits. */
async function writeAlone(keys: readonly string[], ...operations: readonly Operation[]) {
  sequence += 1;
  const lowWatermark = [1, sequence - 1] as const;
  const prepares = [prepareOf(sequence, keys, part(...operations))];
  const { votes } = executed(await client.round(roundOf({ lowWatermark, prepares }), 0));
  expect(votes).toMatchObject([{ kind: 'yes' }]);
  const decisions = [commitOf(sequence, keys)];
  executed(await client.round(roundOf({ lowWatermark, decisions }), 0));
}

const sumOf = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

describe('the commands in a region', () => {
  const writes: readonly (readonly [string, number, readonly string[], readonly Operation[]])[] = [
    ['SET', 6, ['k'], [set('k', 'v')]],
    ['INCR', 8, ['n'], [increment('n')]],
    ['HSET', 11, ['h'], [write('HSET', 'h', 'f', '2')]],
    ['SET and INCR', 8, ['k', 'n'], [set('k', 'v'), increment('n')]],
    ['DEL', 7, ['gone'], [del('gone')]],
    ['SET of 10 kB', 10, ['long'], [set('long', 'x'.repeat(10_000))]],
    [
      'transaction of 100 SETs',
      6,
      ['a'],
      Array.from({ length: 100 }, (_, at) => set('a', `v${at}`)),
    ],
  ];

  it.each(writes)('of a lone %s are %i', async (_, expected, keys, operations) => {
    await writeAlone(keys, ...operations);
    const counts = await commandsOf(() => writeAlone(keys, ...operations));
    expect([sumOf(counts), counts]).toEqual([expected, counts]);
  });

  it('of a rate limiter’s script are 15, for its first call and for a later one', async () => {
    const operation = () => ({ ...script(fixedWindow, ['limit'], ['60000']), seed: 1 });
    const first = await commandsOf(() => writeAlone(['limit'], operation()));
    const later = await commandsOf(() => writeAlone(['limit'], operation()));
    expect([sumOf(first), first, sumOf(later), later]).toEqual([15, first, 15, later]);
  });

  it('of 256 SETs of other keys in one transaction are as many as of one', async () => {
    const keys = Array.from({ length: 256 }, (_, at) => `key:${at}`);
    const counts = await commandsOf(() => writeAlone(keys, ...keys.map((key) => set(key, 'v'))));
    expect([sumOf(counts), counts]).toEqual([6, counts]);
  });

  it('of 256 INCRs of other keys in one transaction are little more than one per key', async () => {
    const keys = Array.from({ length: 256 }, (_, at) => `count:${at}`);
    const incrementAll = () => writeAlone(keys, ...keys.map((key) => increment(key)));
    await incrementAll();
    const counts = await commandsOf(incrementAll);
    // The expiry of each key, and the values by eights.
    expect([sumOf(counts), counts]).toEqual([256 + 256 / 8 + 6, counts]);
  });

  it('of a strong read of a short string are 2 once it is known to be short', async () => {
    const read = () => client.snapshot(snapshotOf(['k'], [command(['GET', 'k'])]), 0);
    await read();
    expect(await commandsOf(read)).toEqual({ evalsha: 1, mget: 1 });
  });

  it('of a renewed lease are 4', async () => {
    const lease = { reading: Date.now(), ttlMs: 10_000 };
    const renew = () => client.round(roundOf({ lease }), 0);
    await renew();
    const counts = await commandsOf(() =>
      client.round(roundOf({ lease: { ...lease, ttlMs: 20_000 } }), 0),
    );
    expect(counts).toEqual({ evalsha: 1, mget: 1, time: 1, set: 1 });
  });
});
