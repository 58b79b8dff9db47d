import { Redis, type RedisConfigNodejs } from '@upstash/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlainRedis, startPlainRedis } from '../stack/plain.ts';
import { startTestStack, type TestStack } from '../stack/stack.ts';
import { preparesOf } from './rounds.ts';
import { patience } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
}, 120_000);

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
}, 60_000);

type Settings = Omit<Partial<RedisConfigNodejs>, 'url' | 'token'>;

/** The SDK as it comes, but for `settings`, pointed at Lockstep. */
function lockstep(settings: Settings = {}): Redis {
  return new Redis({ url: stack.url, token: stack.tokens.write, ...settings });
}

/** The same, pointed at one plain Redis behind a plain gateway. */
function ordinary(settings: Settings = {}): Redis {
  return new Redis({ url: plain.url, token: plain.token, ...settings });
}

/** What came of each call, in order; of one that failed, its message. */
async function outcomes(
  ...calls: readonly (() => Promise<unknown>)[]
): Promise<readonly unknown[]> {
  const results: unknown[] = [];
  for (const call of calls) results.push(await call().catch(String));
  return results;
}

const sorted = (list: readonly unknown[]) => list.map(String).toSorted();

/** What users do with each family of commands, by the methods of the SDK. */
const families: Readonly<Record<string, (redis: Redis) => Promise<readonly unknown[]>>> = {
  connections: (redis) =>
    outcomes(
      () => redis.ping(),
      () => redis.echo('hé'),
    ),
  strings: (redis) =>
    outcomes(
      () => redis.set('s', { deep: [1, 'two', null] }),
      () => redis.get('s'),
      () => redis.set('s', 'x', { nx: true }),
      () => redis.set('s', 'x', { xx: true, get: true, ex: 100 }),
      () => redis.getset('s', 'y'),
      () => redis.append('s', 'zé'),
      () => redis.strlen('s'),
      () => redis.getrange('s', 0, 1),
      () => redis.setrange('s', 1, '-'),
      () => redis.mset({ m1: 1, m2: 'two', m3: true }),
      () => redis.msetnx({ m3: 1, m4: 2 }),
      () => redis.mget('m1', 'm2', 'none', 'm3'),
      () => redis.incr('n'),
      () => redis.incrby('n', 41),
      () => redis.decrby('n', 2),
      () => redis.incrbyfloat('n', 0.5),
      () => redis.setex('e', 100, 'v'),
      () => redis.psetex('e', 100_000, 'v'),
      () => redis.setnx('e', 'w'),
      () => redis.getdel('e'),
      () => redis.getex('n', { persist: true }),
      () => redis.incr('s'),
    ),
  bitmaps: (redis) =>
    outcomes(
      () => redis.setbit('bits', 7, 1),
      () => redis.getbit('bits', 7),
      () => redis.bitcount('bits', 0, -1),
      () => redis.bitpos('bits', 1),
      () => redis.bitop('not', 'inverted', 'bits'),
      () => redis.exec(['BITFIELD', 'field', 'SET', 'u8', 0, 200, 'INCRBY', 'u8', 0, 100]),
    ),
  keys: (redis) =>
    outcomes(
      () => redis.set('key', 'v'),
      () => redis.exists('key', 'none', 'key'),
      () => redis.type('key'),
      () => redis.expire('key', 100),
      () => redis.ttl('none'),
      () => redis.persist('key'),
      () => redis.ttl('key'),
      () => redis.pexpireat('key', 4_000_000_000_000),
      () => redis.expire('key', 100, 'NX'),
      () => redis.rename('key', 'renamed'),
      () => redis.renamenx('renamed', 'key'),
      () => redis.rename('none', 'other'),
      () => redis.copy('key', 'copied'),
      () => redis.touch('key', 'copied', 'none'),
      () => redis.del('key', 'copied', 'none'),
      () => redis.unlink('key'),
    ),
  hashes: (redis) =>
    outcomes(
      () => redis.hset('h', { a: 1, b: 'two', c: { d: [] } }),
      () => redis.hsetnx('h', 'a', 2),
      () => redis.hget('h', 'c'),
      () => redis.hgetall('h'),
      () => redis.hgetall('none'),
      () => redis.hmget('h', 'a', 'none'),
      () => redis.hkeys('h').then(sorted),
      () => redis.hvals('h').then((values) => values.length),
      () => redis.hincrby('h', 'a', 41),
      () => redis.hincrbyfloat('h', 'a', 0.25),
      () => redis.hexists('h', 'b'),
      () => redis.hstrlen('h', 'b'),
      () => redis.hlen('h'),
      () => redis.hscan('h', 0).then(([cursor, fields]) => [cursor, fields.length]),
      () => redis.hdel('h', 'a', 'none'),
      () => redis.hincrby('h', 'b', 1),
      () => redis.lpush('h', 'x'),
    ),
  lists: (redis) =>
    outcomes(
      () => redis.rpush<unknown>('l', 'a', 'b', 3, { d: 4 }),
      () => redis.lpush('l', 'first'),
      () => redis.lpushx('none', 'x'),
      () => redis.lrange('l', 0, -1),
      () => redis.lindex('l', 1),
      () => redis.lset('l', 1, 'A'),
      () => redis.linsert('l', 'before', 'b', 'between'),
      () => redis.lpos('l', 'b'),
      () => redis.lrem('l', 0, 'between'),
      () => redis.ltrim('l', 0, 3),
      () => redis.llen('l'),
      () => redis.lpop('l'),
      () => redis.rpop('l', 2),
      () => redis.lmove('l', 'other', 'left', 'right'),
      () => redis.lmpop(2, ['l', 'other'], 'LEFT', 1),
      () => redis.lpop('none'),
      () => redis.lset('none', 0, 'x'),
    ),
  sets: (redis) =>
    outcomes(
      () => redis.sadd<unknown>('set', 'a', 2, { c: 3 }),
      () => redis.sadd('set2', 'a', 'b'),
      () => redis.smembers('set').then((members) => members.length),
      () => redis.sismember('set', 'a'),
      () => redis.smismember('set', ['a', 'none']),
      () => redis.scard('set'),
      () => redis.sinter('set', 'set2'),
      () => redis.sunion('set', 'set2').then(({ length }) => length),
      () => redis.sdiffstore('diff', 'set2', 'set'),
      () => redis.smove('set', 'set2', 'a'),
      () => redis.sscan('set2', 0).then(([cursor, members]) => [cursor, sorted(members)]),
      () => redis.srem('set2', 'a', 'none'),
      () => redis.srandmember('diff'),
      () => redis.spop('diff'),
      () => redis.scard('diff'),
    ),
  'sorted sets': (redis) =>
    outcomes(
      () => redis.zadd<unknown>('z', { score: 1, member: 'a' }, { score: 2.5, member: { b: 1 } }),
      () => redis.zadd('z', { nx: true }, { score: 9, member: 'a' }),
      () => redis.zadd('z', { incr: true }, { score: 1, member: 'a' }),
      () => redis.zscore('z', 'a'),
      () => redis.zmscore('z', ['a', 'none']),
      () => redis.zincrby('z', 0.5, 'c'),
      () => redis.zrange('z', 0, -1, { withScores: true }),
      () => redis.zrange('z', 3, '-inf', { byScore: true, rev: true }),
      () => redis.zrank('z', 'a'),
      () => redis.zrevrank('z', 'none'),
      () => redis.zcount('z', 0, '(2'),
      () => redis.zcard('z'),
      () => redis.zunionstore('zz', 2, ['z', 'z'], { aggregate: 'sum' }),
      () => redis.zunion(2, ['z', 'zz'], { withScores: true }),
      () => redis.zscan('z', 0).then(([cursor, members]) => [cursor, members.length]),
      () => redis.zpopmin('z'),
      () => redis.zremrangebyscore('z', 2, '+inf'),
      () => redis.zrem('z', 'a', 'none'),
    ),
  pipelines: (redis) =>
    outcomes(
      () => redis.pipeline().set('p', 1).incr('p').get('p').hset('ph', { a: 1 }).exec(),
      () => redis.pipeline().set('p', 'x').incr('p').get('p').exec(),
      () => redis.pipeline().set('p', 'x').incr('p').get('p').exec({ keepErrors: true }),
      () => redis.pipeline().get('p').hgetall('ph').lrange('none', 0, -1).exec(),
    ),
  transactions: (redis) =>
    outcomes(
      () => redis.multi().set('t', 1).incrby('t', 2).get('t').exec(),
      () => redis.multi().set('t', 'x').incr('t').append('t', 'y').exec({ keepErrors: true }),
      () => redis.get('t'),
      () => redis.multi().get('t').llen('t').exec({ keepErrors: true }),
    ),
};

const clients: readonly (readonly [string, Settings])[] = [
  ['as it comes', {}],
  ['without base64', { responseEncoding: false }],
  ['without its own JSON', { automaticDeserialization: false, enableAutoPipelining: false }],
];

describe.each(clients)('the SDK of Upstash %s', (_name, settings) => {
  it.each(Object.keys(families))('finds %s as on one plain Redis', async (family) => {
    const run = families[family];
    if (run === undefined) throw new Error('a family has a run');
    await plain.client.flushall();
    const keys = 's m1 m2 m3 m4 n e bits inverted field key renamed copied other h l set set2 diff';
    const names = `${keys} z zz p ph t`.split(' ');
    await lockstep().del(...names);
    expect(await run(lockstep(settings))).toEqual(await run(ordinary(settings)));
  });
});

describe('calls of the SDK at the same time', () => {
  it('each get their own answer, and reads what was written before them', async () => {
    const redis = lockstep();
    const calls = Array.from({ length: 50 }, (_, index) => redis.set(`auto:${index}`, index));
    expect(await Promise.all(calls)).toEqual(Array(50).fill('OK'));
    const reads = Array.from({ length: 50 }, (_, index) => redis.get(`auto:${index}`));
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 50 }, (_, index) => index));
    const increments = await Promise.all(Array.from({ length: 50 }, () => redis.incr('auto')));
    expect(increments).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });
});

describe('a pipeline of the SDK', () => {
  it('of a hundred writes to different keys, and to one, is prepared in one round', async () => {
    const seen: boolean[] = [];
    const [region] = stack.regions;
    const first = preparesOf('round:0');
    const last = preparesOf('round:99');
    const watch = region?.gateway.faults.add({
      fault: { kind: 'slow', ms: 0 },
      matches: (request) => {
        if (first(request) || last(request)) seen.push(first(request) && last(request));
        return false;
      },
    });
    expect(watch).toBeDefined();
    const pipeline = lockstep().pipeline();
    for (let index = 0; index < 100; index += 1) pipeline.set(`round:${index}`, index);
    for (let index = 0; index < 100; index += 1) pipeline.incr('round:0');
    const results = await pipeline.exec();
    stack.heal();
    expect(results.slice(0, 100)).toEqual(Array(100).fill('OK'));
    expect(results.slice(100)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    expect(seen).toEqual([true]);
    for (const { client } of stack.regions) {
      await expect.poll(() => client.get('round:0'), patience).toBe('100');
    }
  });
});

describe('what Lockstep does not do', () => {
  it('is told to the SDK by the name of the command and a reason', async () => {
    const redis = lockstep();
    expect(
      await outcomes(
        () => redis.eval('return 1', [], []),
        () => redis.multi().set('never', 1).eval('return 1', [], []).exec(),
        () => redis.get('lockstep:0:meta'),
      ),
    ).toEqual([
      expect.stringContaining('ERR EVAL is not supported'),
      expect.stringContaining(
        'EXECABORT Transaction discarded because of previous errors. ERR EVAL',
      ),
      expect.stringContaining('which is reserved'),
    ]);
    expect(await redis.get('never')).toBeNull();
  });

  it('with a token that only reads is to write', async () => {
    const redis = new Redis({ url: stack.url, token: stack.tokens.read });
    expect(await redis.get('none')).toBeNull();
    await expect(redis.set('never', 1)).rejects.toThrow('NOPERM');
    const nobody = new Redis({ url: stack.url, token: 'wrong' });
    await expect(nobody.get('none')).rejects.toThrow('WRONGPASS');
  });
});
