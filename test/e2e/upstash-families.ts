/** Uses of each family of commands by the methods of the Upstash SDK. */
import type { Redis } from '@upstash/redis';

/** The results of the calls, in order; the message of each call that failed. */
export async function outcomes(
  ...calls: readonly (() => Promise<unknown>)[]
): Promise<readonly unknown[]> {
  const results: unknown[] = [];
  for (const call of calls) results.push(await call().catch(String));
  return results;
}

const sorted = (list: readonly unknown[]) => list.map(String).toSorted();

/** Typical uses of each family of commands, by the methods of the SDK. */
export const families: Readonly<Record<string, (redis: Redis) => Promise<readonly unknown[]>>> = {
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
  streams: (redis) =>
    outcomes(
      () => redis.xadd('x', '1-1', { a: 1, b: 'two' }),
      () => redis.xadd('x', '2-1', { c: { d: 3 } }),
      () => redis.xadd('x', '1-2', { late: true }),
      () => redis.xlen('x'),
      () => redis.xrange('x', '-', '+'),
      () => redis.xrevrange('x', '+', '-', 1),
      () => redis.xread('x', '1-1'),
      () => redis.xread('x', '9-9'),
      () => redis.xgroup('x', { type: 'CREATE', group: 'g', id: '0' }),
      () => redis.xreadgroup('g', 'someone', 'x', '>'),
      () => redis.xack('x', 'g', '1-1'),
      () => redis.xpending('x', 'g', '-', '+', 10).then((pending) => pending.length),
      () => redis.xtrim('x', { strategy: 'MAXLEN', threshold: 1, exactness: '=' }),
      () => redis.xdel('x', '2-1'),
    ),
  'geographic indexes': (redis) =>
    outcomes(
      () => redis.geoadd('geo', { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' }),
      () => redis.geoadd('geo', { longitude: 15.087269, latitude: 37.502669, member: 'Catania' }),
      () => redis.geodist('geo', 'Palermo', 'Catania', 'KM'),
      () => redis.geohash('geo', 'Palermo', 'none'),
      () => redis.geopos('geo', 'Palermo', 'none'),
      () =>
        redis.geosearch(
          'geo',
          { type: 'FROMLONLAT', coordinate: { lon: 15, lat: 37 } },
          { type: 'BYRADIUS', radius: 200, radiusType: 'KM' },
          'ASC',
        ),
    ),
  HyperLogLogs: (redis) =>
    outcomes(
      () => redis.pfadd('pf', 'a', 'b', 'c'),
      () => redis.pfadd('pf', 'a'),
      () => redis.pfadd('pf2', 'd'),
      () => redis.pfcount('pf'),
      () => redis.pfcount('pf', 'pf2'),
      () => redis.pfmerge('pf3', 'pf', 'pf2'),
      () => redis.pfcount('pf3'),
    ),
  'looks at all keys': (redis) =>
    outcomes(
      () => redis.mset({ one: 1, two: 2, other: 3 }),
      () => redis.keys('o*').then(sorted),
      () => redis.dbsize(),
      () => redis.scan(0, { match: 't*', count: 100 }),
      () =>
        redis
          .scan(0, { type: 'string', count: 100 })
          .then(([cursor, keys]) => [cursor, sorted(keys)]),
      () => redis.randomkey().then((key) => typeof key),
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
