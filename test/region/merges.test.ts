/** Tests how the staged elements of large collections are merged into them at the commit. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { limits } from '../../shared/limits.ts';
import { readLocks } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  command,
  commitOf,
  executed,
  increment,
  part,
  prepareOf,
  read,
  roundOf,
  snapshotOf,
  write,
} from './fixtures.ts';
import { repliesOfJson } from './replies.ts';
import { servers, startRedisServer, type TestServer } from './servers.ts';

const count = limits.elementsCopied + 50;
const members = Array.from({ length: count }, (_, index) => `m${index}`);
const keys = ['h', 's', 'z', 'l'];
const shadow = (key: string) => `lockstep:0:shadow:1.1:${key}`;

const changes: readonly Operation[] = [
  write('HSET', 'h', 'm1', 'changed', 'new', '1'),
  write('HDEL', 'h', 'm2'),
  write('SADD', 's', 'new'),
  write('SREM', 's', 'm2', 'm3'),
  write('ZADD', 'z', '7.5', 'm1'),
  write('ZPOPMIN', 'z', '2'),
  write('LPOP', 'l'),
  write('RPOP', 'l', '2'),
  write('LPUSH', 'l', 'b', 'a'),
  write('RPUSH', 'l', 'y'),
];

async function fill({ redis }: TestServer): Promise<void> {
  await redis.flushall();
  await redis.hset('h', ...members.flatMap((member, at) => [member, at]));
  await redis.sadd('s', ...members);
  await redis.zadd('z', ...members.flatMap((member, at) => [at, member]));
  await redis.rpush('l', ...members);
}

/** Expects the values that `changes` leaves. */
async function expectChanged({ redis }: TestServer): Promise<void> {
  expect(await redis.hmget('h', 'm1', 'm2', 'm3', 'new')).toEqual(['changed', null, '3', '1']);
  expect(await redis.hlen('h')).toBe(count);
  expect(await redis.smismember('s', 'm1', 'm2', 'm3', 'new')).toEqual([1, 0, 0, 1]);
  expect(await redis.scard('s')).toBe(count - 1);
  expect(await redis.zmscore('z', 'm0', 'm1', 'm2', 'm3')).toEqual([null, '7.5', null, '3']);
  expect(await redis.zcard('z')).toBe(count - 2);
  expect(await redis.lrange('l', 0, -1)).toEqual(['a', 'b', ...members.slice(1, -2), 'y']);
}

describe.each(servers)('a merge in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => fill(server));
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const stage = (...operations: readonly Operation[]) =>
    send({ prepares: [prepareOf(1, [...keys, 'n'], part(...operations))] });
  const commit = async () =>
    (await send({ decisions: [commitOf(1, [...keys, 'n'])] })).decisions[0];
  const ownKeys = async () => (await server.redis.keys('lockstep:*')).sort();

  it('applies the changes of the transaction, and leaves nothing else behind', async () => {
    await stage(...changes);
    expect(await server.redis.hlen(shadow('h'))).toBe(3);
    expect(await server.redis.scard(shadow('s'))).toBe(2);
    expect(await server.redis.zcard(shadow('z'))).toBe(2);
    expect(await server.redis.llen(shadow('l'))).toBe(4);
    expect(await commit()).toBe('acknowledged');
    await expectChanged(server);
    expect(await ownKeys()).toEqual(['lockstep:0:state']);
  });

  it('leaves nothing behind after an abort, or if nothing changed', async () => {
    await stage(...changes);
    await send({ decisions: [abortOf(1, [...keys, 'n'])] });
    expect(await ownKeys()).toEqual(['lockstep:0:state']);
    const idle = [write('SADD', 's', 'm1'), write('HDEL', 'h', 'none'), write('LPUSHX', 'l', 'x')];
    await send({ prepares: [prepareOf(2, keys, part(...idle, write('LPOP', 'l')))] });
    expect(await ownKeys()).toEqual(['lockstep:0:state']);
  });

  it('is undone with its part, and its backups are deleted', async () => {
    const fails = part(...changes, write('INCR', 's'));
    const parts = [part(write('SADD', 's', 'x')), fails, part(write('RPUSH', 'l', 'x')), fails];
    await send({ prepares: [prepareOf(1, keys, ...parts)] });
    const shadows = ['l', 's'].map(shadow);
    expect((await ownKeys()).filter((name) => name.includes('1.1'))).toEqual(shadows);
    await send({ decisions: [commitOf(1, keys)] });
    expect(await server.redis.scard('s')).toBe(count + 1);
    expect(await server.redis.lrange('l', -2, -1)).toEqual([`m${count - 1}`, 'x']);
    expect(await server.redis.hlen('h')).toBe(count);
  });

  it.each(keys)('is a loss if the shadow of %s is gone, and then changes nothing', async (key) => {
    await stage(...changes, increment('n'));
    await server.redis.del(shadow(key));
    expect(await commit()).toBe('lost');
    expect(await server.redis.hget('h', 'm1')).toBe('1');
    expect(await server.redis.llen('l')).toBe(count);
    expect(await server.redis.exists('n')).toBe(0);
    expect((await readLocks(server.redis)).size).toBe(5);
  });

  it.each(keys)('is a loss if the base %s is gone before its expiry', async (key) => {
    await server.redis.pexpireat('s', Date.now() + 3_600_000);
    await stage(...changes, increment('n'));
    await server.redis.del(key);
    expect(await commit()).toBe('lost');
    expect(await server.redis.exists(key, 'n')).toBe(0);
  });

  it('is not counted among users’ keys, and is deleted when a copy begins', async () => {
    await stage(...changes);
    const request = snapshotOf([], [{ args: ['DBSIZE'], reads: [], reply: null }], {
      strong: false,
    });
    expect(await client.snapshot(request, 0)).toMatchObject({ replies: repliesOfJson('[4]') });
    const copy = { kind: 'begin', token: 'token', number: 1, replaces: [] } as const;
    await send({ role: 'copying', copy });
    expect(await ownKeys()).toEqual(['lockstep:0:state']);
  });

  it('takes all arguments of the largest write at once', async () => {
    const many = Array.from(
      { length: limits.argumentsPerOperation - 2 },
      (_, index) => `x${index}`,
    );
    const pushes = [write('RPUSH', 'l', ...many), write('SADD', 's', ...many)];
    const pairs = many.slice(0, 2_000).flatMap((field) => [field, field]);
    await stage(...pushes, write('HSET', 'h', ...pairs), read(['HLEN', 'h']));
    expect(await commit()).toBe('acknowledged');
    expect(await server.redis.llen('l')).toBe(count + many.length);
    expect(await server.redis.lrange('l', -2, -1)).toEqual(many.slice(-2));
    expect(await server.redis.scard('s')).toBe(count + many.length);
    expect(await server.redis.hget('h', 'x1999')).toBe('x1999');
  });

  it('is settled by a reader only once', async () => {
    await stage(...changes);
    const settle = [commitOf(1, [...keys, 'n'])];
    const request = snapshotOf(['l'], [command(['LLEN', 'l'])], { settle });
    for (let time = 0; time < 2; time += 1) {
      expect(await client.snapshot(request, 0)).toMatchObject({ replies: [count], locks: [] });
    }
    await expectChanged(server);
  });
});

describe('a merge that the server refuses half-way', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
  });
  afterAll(() => server.stop());

  const all = [...keys, 'n'];
  const decide = async () => {
    const reply = executed(await client.round(roundOf({ decisions: [commitOf(1, all)] }), 0));
    return reply.decisions;
  };

  // RENAME comes last: by then all four are merged, and are merged again.
  it.each([
    'hdel',
    'sadd',
    'srem',
    'zadd',
    'zrem',
    'ltrim',
    'rpush',
    'lpush',
    'pexpireat',
    'rename',
  ])('is refused at %s, and complete after a retry', async (refused) => {
    await fill(server);
    await server.redis.pexpireat('l', Date.now() + 3_600_000);
    const prepares = [prepareOf(1, all, part(...changes, increment('n')))];
    await client.round(roundOf({ prepares }), 0);
    await server.redis.call('ACL', 'SETUSER', 'default', `-${refused}`);
    // Locks use HSET as well, but a decision takes no locks.
    expect(await decide()).toEqual(['refused']);
    expect(await decide()).toEqual(['refused']);
    await server.redis.call('ACL', 'SETUSER', 'default', `+${refused}`);
    expect(await decide()).toEqual(['acknowledged']);
    expect(await decide()).toEqual(['acknowledged']);
    await expectChanged(server);
    expect(await server.redis.pttl('l')).toBeGreaterThan(0);
    expect(await server.redis.get('n')).toBe('1');
  });
});
