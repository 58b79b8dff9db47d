/** The uses of each client library that client-libraries.test.ts runs. */
import { Lock } from '@upstash/lock';
import { MultiRegionRatelimit, Ratelimit } from '@upstash/ratelimit';
import type { Redis } from '@upstash/redis';
import { createStorage } from 'unstorage';
import upstashDriver from 'unstorage/drivers/upstash';
import { outcomes } from './upstash-families.ts';
import type { UpstashEndpoint } from './upstash-forms.ts';

/** The input of a library's run: an endpoint, and the SDK pointed at it for libraries that take one. */
export interface Tried {
  readonly endpoint: UpstashEndpoint;
  readonly redis: Redis;
}

/** Long enough that no test reaches the end of a window, and that its number stays the same. */
const age = '36500 d';

type Limited = Awaited<ReturnType<Ratelimit['limit']>>;

/** A limiter's answer, without the members that depend on the time. */
async function shown(limiting: Promise<Limited>): Promise<unknown> {
  const { success, limit, remaining, reason, pending } = await limiting;
  await pending;
  return { success, limit, remaining, reason };
}

async function shownRemaining(asking: ReturnType<Ratelimit['getRemaining']>): Promise<unknown> {
  const { remaining, limit } = await asking;
  return { remaining, limit };
}

/** Uses every method of a limiter, each step on the results of the steps before it. */
function useLimiter(limiter: Ratelimit): Promise<readonly unknown[]> {
  const limit = (user: string) => () => shown(limiter.limit(user));
  return outcomes(
    () => shownRemaining(limiter.getRemaining('ann')),
    limit('ann'),
    limit('ann'),
    limit('bob'),
    () => shownRemaining(limiter.getRemaining('ann')),
    () => shown(limiter.limit('ann', { rate: 2 })),
    limit('ann'),
    limit('ann'),
    () => shown(limiter.limit('ann', { rate: -1 })),
    () => shownRemaining(limiter.getRemaining('ann')),
    () => limiter.resetUsedTokens('ann'),
    () => shownRemaining(limiter.getRemaining('ann')),
    () => shownRemaining(limiter.getRemaining('bob')),
    limit('ann'),
  );
}

const algorithms = {
  'a fixed window': Ratelimit.fixedWindow(3, age),
  'a sliding window': Ratelimit.slidingWindow(3, age),
  'a token bucket': Ratelimit.tokenBucket(3, age, 4),
} as const;

const limiters = Object.entries(algorithms).map(
  ([name, limiter]) =>
    [
      `the rate limiter with ${name}`,
      ({ redis }: Tried) =>
        useLimiter(new Ratelimit({ redis, limiter, prefix: name, ephemeralCache: false })),
    ] as const,
);

async function untilEmpty(redis: Redis): Promise<void> {
  for (;;) if ((await redis.dbsize()) === 0) return;
}

/** The results that a caller sees, per library, on any endpoint. */
export const libraries: Readonly<Record<string, (tried: Tried) => Promise<readonly unknown[]>>> = {
  ...Object.fromEntries(limiters),

  'the rate limiter that waits': ({ redis }) => {
    const limiter = new Ratelimit({
      redis,
      limiter: Ratelimit.fixedWindow(1, age),
      ephemeralCache: false,
    });
    return outcomes(
      () => shown(limiter.blockUntilReady('ann', 50)),
      () => shown(limiter.blockUntilReady('ann', 50)),
    );
  },

  'the rate limiter with a cache of its own': ({ redis }) => {
    const limiter = new Ratelimit({
      redis,
      limiter: Ratelimit.fixedWindow(1, age),
      ephemeralCache: new Map(),
    });
    return outcomes(
      () => shown(limiter.limit('ann')),
      () => shown(limiter.limit('ann')),
      () => shown(limiter.limit('ann')),
      () => limiter.resetUsedTokens('ann'),
      () => shown(limiter.limit('ann')),
    );
  },

  'the rate limiter with a cached window': ({ redis }) =>
    useLimiter(
      new Ratelimit({
        redis,
        limiter: Ratelimit.cachedFixedWindow(3, age),
        ephemeralCache: new Map(),
      }),
    ),

  'the rate limiter with a limit that changes': ({ redis }) => {
    const limiter = new Ratelimit({
      redis,
      limiter: Ratelimit.slidingWindow(2, age),
      dynamicLimits: true,
      ephemeralCache: false,
    });
    return outcomes(
      () => shown(limiter.limit('ann')),
      () => limiter.setDynamicLimit({ limit: 5 }),
      () => limiter.getDynamicLimit(),
      () => shown(limiter.limit('ann')),
      () => shownRemaining(limiter.getRemaining('ann')),
      () => limiter.setDynamicLimit({ limit: false }),
      () => shown(limiter.limit('ann')),
    );
  },

  'the rate limiter over several databases': async ({ redis }) => {
    const found: unknown[] = [];
    for (const limiter of [
      MultiRegionRatelimit.fixedWindow(2, age),
      MultiRegionRatelimit.slidingWindow(2, age),
    ]) {
      const several = new MultiRegionRatelimit({ redis: [redis], limiter, ephemeralCache: false });
      found.push(
        ...(await outcomes(
          () => shown(several.limit('ann')),
          () => shown(several.limit('ann')),
          () => shown(several.limit('ann')),
          () => shownRemaining(several.getRemaining('ann')),
          // It does not wait until its scripts have run.
          () => several.resetUsedTokens('ann').then(() => untilEmpty(redis)),
          () => shownRemaining(several.getRemaining('ann')),
        )),
      );
    }
    return found;
  },

  'the lock': ({ redis }) => {
    const retry = { attempts: 2, delay: 5 };
    const mine = new Lock({ id: 'lock', redis, lease: 60_000, retry });
    const other = new Lock({ id: 'lock', redis, lease: 60_000, retry });
    return outcomes(
      () => mine.getStatus(),
      () => mine.acquire(),
      () => mine.getStatus(),
      () => other.acquire(),
      () => other.release(),
      () => other.extend(1_000),
      () => mine.extend(10_000),
      async () => (await redis.pttl('lock')) > 60_000,
      // Its script passes a fraction to EXPIRE.
      () => mine.extend(1_500),
      () => mine.release(),
      () => mine.release(),
      () => mine.extend(10_000),
      () => other.acquire({ lease: 30_000, uuid: 'given' }),
      () => redis.get('lock'),
      () => other.getStatus(),
      () => other.release(),
      () => redis.exists('lock'),
    );
  },

  'the client of Vercel': async ({ endpoint: { url, token } }) => {
    // The module reads its default client's address when it is loaded.
    process.env.KV_REST_API_URL = url;
    process.env.KV_REST_API_TOKEN = token;
    const { createClient } = await import('@vercel/kv');
    const kv = createClient({ url, token });
    const listed = async (items: AsyncIterable<unknown>) => {
      const list: unknown[] = [];
      for await (const item of items) list.push(item);
      return list.map(String).toSorted();
    };
    return outcomes(
      () => kv.set('kv:user', { name: 'ann', tags: [1, 2] }, { ex: 100 }),
      () => kv.get('kv:user'),
      () => kv.hset('kv:hash', { a: 1, b: 'two' }),
      () => kv.hgetall('kv:hash'),
      () => kv.incr('kv:count'),
      () => kv.sadd('kv:set', 'x', 'y'),
      () => kv.zadd('kv:scores', { score: 1, member: 'one' }, { score: 2, member: 'two' }),
      () => kv.zrange('kv:scores', 0, -1, { rev: true, withScores: true }),
      () => listed(kv.scanIterator({ match: 'kv:*' })),
      () => listed(kv.hscanIterator('kv:hash')),
      () => listed(kv.sscanIterator('kv:set')),
      () => listed(kv.zscanIterator('kv:scores')),
      () => kv.pipeline().lpush('kv:list', 1, 2).lrange('kv:list', 0, -1).exec(),
      () => kv.multi().incr('kv:count').del('kv:set').exec(),
      () => kv.eval('return redis.call("INCRBY", KEYS[1], ARGV[1])', ['kv:count'], [5]),
      () => kv.evalRo('return redis.call("GET", KEYS[1])', ['kv:count'], []),
    );
  },

  'the driver of unstorage': async ({ endpoint: { url, token } }) => {
    const storage = createStorage({ driver: upstashDriver({ url, token, base: 'app' }) });
    const keys = async (base?: string) => (await storage.getKeys(base)).toSorted();
    return outcomes(
      () => storage.setItem('users:ann', { age: 7 }),
      () => storage.setItem('users:bob', 'text', { ttl: 100 }),
      () => storage.setItem('other', 3),
      () => storage.getItem('users:ann'),
      () => storage.getItems(['users:ann', 'none', 'other']),
      () => storage.hasItem('users:bob'),
      () => storage.hasItem('none'),
      () => keys(),
      () => keys('users'),
      () => storage.removeItem('users:ann'),
      () => keys('users'),
      () => storage.clear('users'),
      () => keys(),
      () => storage.clear(),
      () => keys(),
    );
  },

  'the scripts of the SDK': async ({ redis }) => {
    const counting = redis.createScript<number>('return redis.call("INCRBY", KEYS[1], ARGV[1])');
    const reading = redis.createScript<string, true>('return redis.call("GET", KEYS[1])', {
      readonly: true,
    });
    return outcomes(
      () => redis.scriptFlush(),
      () => counting.evalsha(['count'], ['2']),
      () => counting.exec(['count'], ['2']),
      () => counting.evalsha(['count'], ['3']),
      () => counting.eval(['count'], ['4']),
      () => reading.evalRo(['count'], []),
      () => reading.evalshaRo(['count'], []),
      () => redis.scriptLoad('return ARGV[1]'),
      () => redis.scriptExists('098e0f0d1448c0a81dafe820f66d460eb09263da', 'none'),
      () => redis.evalsha('098e0f0d1448c0a81dafe820f66d460eb09263da', [], ['x']),
      () => redis.scriptLoad('return ('),
      () => redis.eval('return {1, "two", false, {3}}', [], []),
      () => redis.eval('return redis.call("LPUSH", KEYS[1], 1)', ['count'], []),
      () => redis.evalRo('return redis.call("SET", KEYS[1], 1)', ['count'], []),
      () =>
        redis
          .pipeline()
          .set('p', 1)
          .eval('return redis.call("INCR", KEYS[1])', ['p'], [])
          .get('p')
          .exec(),
      () =>
        redis
          .multi()
          .set('m', 1)
          .evalsha('f'.repeat(40), [], [])
          .eval('return redis.call("INCR", KEYS[1])', ['m'], [])
          .exec()
          .then(String, String),
      () => redis.get('m'),
      () => redis.scriptFlush({ async: true }),
      () => reading.evalshaRo(['count'], []),
    );
  },
};
