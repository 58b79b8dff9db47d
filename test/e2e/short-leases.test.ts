/** Tests locks and rate limiters whose times are shorter than a few round trips. */
import { Lock } from '@upstash/lock';
import { Ratelimit } from '@upstash/ratelimit';
import { Redis } from '@upstash/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';

const clients = 10;

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ roundTrips: 40 });
});

afterAll(() => stack?.stop());

/** A client of its own, as in a separate process. */
const redisOf = () => new Redis({ url: stack.url, token: stack.tokens.write });

/** The answers of all clients to concurrent requests, and the number of spans of `spanMs` until the last answer. */
async function atOnce<Value>(spanMs: number, ask: (client: number) => Promise<Value>) {
  const sentAt = performance.now();
  const answers = await Promise.all(Array.from({ length: clients }, (_, client) => ask(client)));
  return { answers, spans: Math.floor((performance.now() - sentAt) / spanMs) };
}

describe('a lock whose lease is shorter than a second', () => {
  it.each([300, 500, 900])('of %i ms is held by only one client at a time', async (lease) => {
    const { answers, spans } = await atOnce(lease, () =>
      new Lock({
        id: `lock ${lease}`,
        redis: redisOf(),
        lease,
        retry: { attempts: 1, delay: 0 },
      }).acquire(),
    );
    const acquired = answers.filter((isAcquired) => isAcquired).length;
    expect(acquired).toBeGreaterThanOrEqual(1);
    expect(acquired).toBeLessThanOrEqual(1 + spans);
  });
});

describe('a rate limiter whose window is a second', () => {
  it.each([
    ['fixed', Ratelimit.fixedWindow(3, '1 s')],
    ['sliding', Ratelimit.slidingWindow(3, '1 s')],
    ['token bucket', Ratelimit.tokenBucket(3, '1 s', 3)],
  ] as const)('allows no more requests than its %s window', async (name, limiter) => {
    const { answers, spans } = await atOnce(1_000, () =>
      new Ratelimit({ redis: redisOf(), limiter, prefix: name, ephemeralCache: false }).limit(
        'ann',
      ),
    );
    const allowed = answers.filter(({ success }) => success).length;
    expect(allowed).toBeGreaterThanOrEqual(3);
    // The requests may fall into one window more than the number of whole ones that have passed.
    expect(allowed).toBeLessThanOrEqual(3 * (spans + 2));
    if (spans === 0) expect(allowed).toBeLessThan(clients);
  });
});
