/** Tests rounds of any decisions and any prepares on a server without memory: nothing is done by halves, or twice. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Decision, Prepare } from '../../shared/contracts/round.ts';
import { readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  commitOf,
  del,
  executed,
  flush,
  increment,
  part,
  prepareOf,
  publish,
  roundOf,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { listenerOf } from './implementations.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** A transaction that is prepared before the server is full, and decided afterwards. */
interface Open {
  readonly name: string;
  readonly keys: readonly string[];
  readonly operations: readonly Operation[];
  readonly outcome: 'commit' | 'abort';
}

const future = String(Date.now() + 1_000_000);
const news = 'lockstep:channel:news';
const many = Array.from({ length: 3_000 }, (_, at) => `far${at}`);

const open: readonly Open[] = [
  { name: 'a value', keys: ['a'], operations: [set('a', 'v')], outcome: 'commit' },
  {
    name: 'an expiring value',
    keys: ['b'],
    operations: [set('b', 'v', future)],
    outcome: 'commit',
  },
  { name: 'a deletion', keys: ['c'], operations: [del('c')], outcome: 'commit' },
  { name: 'a shadow', keys: ['h'], operations: [write('HSET', 'h', 'f', '2')], outcome: 'commit' },
  {
    name: 'a merge',
    keys: ['large'],
    operations: [write('SADD', 'large', 'more')],
    outcome: 'commit',
  },
  {
    name: 'a message and a value',
    keys: [news, 'd'],
    operations: [publish('news', 'text'), set('d', 'v')],
    outcome: 'commit',
  },
  {
    name: 'far locks',
    keys: many,
    operations: many.map((key) => set(key, 'v')),
    outcome: 'commit',
  },
  { name: 'an aborted value', keys: ['e'], operations: [set('e', 'v')], outcome: 'abort' },
  {
    name: 'an aborted shadow',
    keys: ['i'],
    operations: [write('RPUSH', 'i', '2')],
    outcome: 'abort',
  },
];

/** Prepares, each with its vote on a full server. */
const prepared: readonly (readonly [string, Operation, 'yes' | 'denied'])[] = [
  ['x', set('x', 'v'), 'denied'],
  ['n', increment('n'), 'denied'],
  ['y', write('RPUSH', 'y', 'v'), 'denied'],
  ['z', del('z'), 'yes'],
  ['w', write('LPOP', 'w'), 'yes'],
];

/** All subsets of at most `most` items. */
function subsets<Item>(items: readonly Item[], most: number): readonly (readonly Item[])[] {
  const [first, ...others] = items;
  if (first === undefined) return [[]];
  const without = subsets(others, most);
  const shorter = without.filter((each) => each.length < most);
  return [...without, ...shorter.map((each) => [first, ...each])];
}

describe('a full server', () => {
  let server: TestServer;
  let client: RegionClient;
  let listener: Awaited<ReturnType<typeof listenerOf>>;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
    listener = await listenerOf(server.redis);
  });
  beforeEach(() => fill());
  afterEach(() => server.redis.config('SET', 'maxmemory', '0'));
  afterAll(async () => {
    listener.stop();
    await server.stop();
  });

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const setFull = () => server.redis.config('SET', 'maxmemory', '1');

  async function fill(): Promise<void> {
    const { redis } = server;
    await redis.config('SET', 'maxmemory', '0');
    await redis.flushall();
    await redis.mset('a', 'old', 'c', 'old', 'z', 'old');
    await redis.hset('h', 'f', '1', 'g', '1');
    await redis.rpush('w', '1', '2');
    await redis.sadd('large', ...Array.from({ length: 500 }, (_, at) => `m${at}`));
  }

  const wanted = {
    a: async () => expect(await server.redis.get('a')).toBe('v'),
    b: async () =>
      expect([await server.redis.get('b'), await server.redis.pexpiretime('b')]).toEqual([
        'v',
        Number(future),
      ]),
    c: async () => expect(await server.redis.exists('c')).toBe(0),
    h: async () => expect(await server.redis.hgetall('h')).toEqual({ f: '2', g: '1' }),
    large: async () => expect(await server.redis.scard('large')).toBe(501),
    [news]: async () => expect(await server.redis.get('d')).toBe('v'),
    far0: async () => expect(await server.redis.mget('far0', 'far2999')).toEqual(['v', 'v']),
    e: async () => expect(await server.redis.exists('e')).toBe(0),
    i: async () => expect(await server.redis.exists('i')).toBe(0),
  } as Record<string, () => Promise<void>>;

  async function decide(
    decided: readonly Open[],
    repeated: boolean,
    prepares: typeof prepared,
  ): Promise<void> {
    await fill();
    await listener.published();
    const opening = decided.map(
      ({ keys, operations }, at): Prepare => prepareOf(at + 1, keys, part(...operations)),
    );
    if (opening.length > 0) await send({ prepares: opening });
    const decisions = decided.map(
      ({ keys, outcome }, at): Decision =>
        outcome === 'commit' ? commitOf(at + 1, keys) : abortOf(at + 1, keys),
    );
    if (repeated) decisions.push(abortOf(99, ['unknown']));
    await setFull();
    const next = prepares.map(([key, operation], at) => prepareOf(50 + at, [key], part(operation)));
    const reply = await send({ decisions, prepares: next });
    expect(reply.decisions).toEqual(decisions.map(() => 'acknowledged'));
    expect(reply.votes.map(({ kind }) => kind)).toEqual(prepares.map(([, , kind]) => kind));
    for (const { keys } of decided) await wanted[keys[0] ?? '']?.();
    const messages = decided.filter(({ keys }) => keys[0] === news).map(() => 'news text');
    expect(await listener.published()).toEqual(messages);
    const locked = prepares.filter(([, , kind]) => kind === 'yes').map(([key]) => key);
    expect([...(await readLocks(server.redis)).keys()].sort()).toEqual(locked.sort());
    expect((await readState(server.redis))?.counter).toBe(opening.length > 0 ? 2 : 1);
    const own = (await server.redis.keys('lockstep:*')).filter(
      (name) => name !== 'lockstep:0:state',
    );
    expect(own.sort()).toEqual(
      locked.includes('w')
        ? [`lockstep:0:shadow:1.${50 + prepares.findIndex(([key]) => key === 'w')}:w`]
        : [],
    );
  }

  it.each(prepared)('judges a prepare of %s as it is, behind any decisions', async (...prepare) => {
    for (const decided of subsets(open, 2)) {
      for (const repeated of [false, true]) await decide(decided, repeated, [prepare]);
    }
  });

  it('carries out any decisions alone, and some prepares and denies others together', async () => {
    for (const decided of subsets(open, 3)) await decide(decided, decided.length % 2 === 0, []);
    for (const some of subsets(prepared, 3)) await decide(open, true, some);
  });

  it('applies the commits that a read settles, each of them once', async () => {
    for (const { keys, operations, outcome } of open) {
      if (outcome === 'abort') continue;
      await fill();
      await listener.published();
      await send({ prepares: [prepareOf(1, keys, part(...operations))] });
      await setFull();
      const request = snapshotOf(keys, [], { settle: [commitOf(1, keys)] });
      expect(await client.snapshot(request, 0)).toEqual({ kind: 'read', replies: [], locks: [] });
      await wanted[keys[0] ?? '']?.();
      const { decisions } = await send({ decisions: [commitOf(1, keys)] });
      expect(decisions).toEqual(['acknowledged']);
      expect(await listener.published()).toEqual(keys[0] === news ? ['news text'] : []);
    }
  });

  it('carries out a flush that sets values, and then denies a write that takes memory', async () => {
    const keys = [...flush.args, 'a'];
    await send({ prepares: [prepareOf(1, keys, part(flush, set('a', 'v')))] });
    await setFull();
    const decisions = [commitOf(1, keys)];
    const reply = await send({ decisions, prepares: [prepareOf(2, ['x'], part(set('x', 'v')))] });
    expect([reply.decisions, reply.votes[0]?.kind]).toEqual([['acknowledged'], 'denied']);
    expect((await server.redis.keys('*')).sort()).toEqual(['a', 'lockstep:0:state']);
  });
});
