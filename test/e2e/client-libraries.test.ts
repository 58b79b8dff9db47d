/** Runs published client libraries against Lockstep and against a plain Redis, and compares their results. */
import { Redis } from '@upstash/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { libraries, type Tried } from './client-libraries.ts';
import { contentOf } from './upstash-forms.ts';
import { patience } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

/**
 * The flag of the rate limiter's scripts is Upstash's own. A plain Redis refuses it, so the proxy removes it; the
 * digests that the library sends are then never known, and it sends each text.
 */
const flagOfUpstash = /^#!lua flags=allow-key-locking/;

function ordinary(): Tried {
  const { url, token } = plain;
  const redis = new Redis({ url, token });
  const withoutFlag = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(withoutFlag);
    return typeof value === 'string' ? value.replace(flagOfUpstash, '#!lua') : value;
  };
  redis.use((request, next) => next({ ...request, body: withoutFlag(request.body) }));
  return { endpoint: { url, token }, redis };
}

function lockstep(): Tried {
  const endpoint = { url: stack.url, token: stack.tokens.write };
  return { endpoint, redis: new Redis(endpoint) };
}

describe('a client library', () => {
  it.each(Object.keys(libraries))(
    '%s gets the same results as on one plain Redis',
    async (name) => {
      const run = libraries[name];
      if (run === undefined) throw new Error('every library has a run');
      await plain.client.flushall();
      const [first] = stack.regions;
      if (first === undefined) throw new Error('the stack has no region');
      const old = await first.client.keys('*');
      const { redis } = lockstep();
      await redis.del('none', ...old.filter((key) => !key.startsWith('lockstep:')));
      expect(await run(lockstep())).toEqual(await run(ordinary()));
      // Some values are times or random.
      const names = async (content: ReturnType<typeof contentOf>) =>
        (await content).map((entry) => (Array.isArray(entry) ? entry.slice(0, 2) : entry));
      const expected = await names(contentOf(plain.client));
      for (const { client } of stack.regions) {
        await expect.poll(() => names(contentOf(client)), patience).toEqual(expected);
        expect(await contentOf(client)).toEqual(await contentOf(first.client));
      }
    },
  );
});
