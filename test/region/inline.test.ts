/**
 * Transactions of short strings are staged in their lock records (inline.lua); stage.lua can stage them as well, under
 * names of their own. Both ways give the same votes, and commits of both leave the same data.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assert } from '../../shared/assert.ts';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { Part } from '../../shared/contracts/round.ts';
import { type DirectRegion, startBoth, withoutSetRound } from './direct.ts';
import { commitOf, del, executed, part, prepareOf, read, roundOf, set, write } from './fixtures.ts';
import { runCountOf } from './oracle/run-count.ts';
import { servers, type TestServer } from './servers.ts';

const names = ['a', 'b', 'c', ''];
const hour = 3_600_000;

/** Leaves every transaction to stage.lua, which the short text lacks. */
function withoutInline(text: string): string {
  const changed = text.replace(
    /(local function loadInline\(\.\.\.\)\n)/,
    '$1if true then return function() end end\n',
  );
  assert(changed !== text || !text.includes('loadInline'), 'the text loads inline.lua');
  return changed;
}

const texts = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '-0',
    '+1',
    ' 1',
    '1 ',
    '007',
    '1.5',
    '-5',
    'x',
    '5\0',
    '9007199254740991',
  ),
  fc.constantFrom('9007199254740993', '9223372036854775807', '-9223372036854775808'),
  fc.constantFrom('999999999999999', '-99999999999999', '9223372036854775808', 'é|,1:m,', '\udc80'),
  fc.constantFrom('x'.repeat(4_095), 'y'.repeat(4_096)),
);
const keyOf = fc.constantFrom(...names);
/** Offsets from the time of the run: the transaction's own time is one hour later. */
const offsets = fc.constantFrom(-hour, hour / 2, hour, hour + 1, 2 * hour);

/** An operation, given the time of the run. */
type Made = (base: number) => Operation;

const operations: fc.Arbitrary<Made> = fc.oneof(
  fc.tuple(keyOf, texts).map(
    ([key, text]): Made =>
      () =>
        set(key, text),
  ),
  fc.tuple(keyOf, texts, offsets).map(
    ([key, text, at]): Made =>
      (base) =>
        set(key, text, String(base + at)),
  ),
  fc
    .tuple(
      keyOf,
      texts,
      fc.constantFrom(['NX'], ['XX'], []),
      fc.constantFrom(['GET'], []),
      fc.constantFrom('', 'KEEPTTL', 'PXAT'),
      offsets,
    )
    .map(
      ([key, text, condition, asked, kept, at]): Made =>
        (base) => {
          const expiry = kept === 'PXAT' ? ['PXAT', String(base + at)] : [kept].filter(Boolean);
          return write('SET', key, text, ...condition, ...asked, ...expiry);
        },
    ),
  fc.tuple(keyOf, fc.constantFrom('INCR', 'DECR')).map(
    ([key, name]): Made =>
      () => ({ ...write(name, key), reply: 'exact' }),
  ),
  fc.tuple(keyOf, texts, fc.constantFrom('INCRBY', 'DECRBY')).map(
    ([key, by, name]): Made =>
      () => ({ ...write(name, key, by), reply: 'exact' }),
  ),
  fc.tuple(keyOf, texts, fc.constantFrom('GETSET', 'SETNX')).map(
    ([key, text, name]): Made =>
      () =>
        write(name, key, text),
  ),
  fc.tuple(keyOf, texts).map(
    ([key, text]): Made =>
      () => ({ ...write('APPEND', key, text), kind: 'append' }),
  ),
  keyOf.map(
    (key): Made =>
      () =>
        write('GETDEL', key),
  ),
  keyOf.map(
    (key): Made =>
      () =>
        read(['GET', key]),
  ),
  fc.array(keyOf, { minLength: 1, maxLength: 3 }).map(
    (keys): Made =>
      () =>
        del(...keys),
  ),
);

/** A command of a plain client that fills a key before the transaction. */
const fillings = fc
  .tuple(keyOf, texts, fc.option(offsets), fc.boolean())
  .map(([key, text, at, isText]) => (base: number): readonly (readonly string[])[] => [
    ['DEL', key],
    isText ? ['SET', key, text] : ['RPUSH', key, text],
    ...(at === null ? [] : [['PEXPIREAT', key, String(base + at)]]),
  ]);

const transactions = fc.array(fc.array(operations, { minLength: 1, maxLength: 5 }), {
  minLength: 1,
  maxLength: 3,
});

describe.each(servers)('a transaction of short strings in %s', (name, start) => {
  let both: readonly [DirectRegion, DirectRegion];
  beforeAll(async () => {
    both = await startBoth(start, withoutSetRound, (text) => withoutInline(withoutSetRound(text)));
  });
  afterAll(async () => {
    await Promise.all(both.map(({ server }) => server.stop()));
  });

  /** The types, values and expiries of all keys, once no transaction is open. */
  async function contents({ redis }: TestServer): Promise<unknown> {
    const found = await Promise.all(
      names.map(async (key) => [
        key,
        await redis.type(key),
        await redis.pexpiretime(key),
        (await redis.type(key)) === 'list'
          ? await redis.lrange(key, 0, -1)
          : (await redis.getBuffer(key))?.toString('latin1'),
      ]),
    );
    return [found, (await redis.keys('*')).sort()];
  }

  async function carryOut(
    at: 0 | 1,
    filled: readonly (readonly string[])[],
    base: number,
    parts: readonly Part[],
    isFull: boolean,
  ): Promise<unknown> {
    const { server, client } = both[at];
    await server.redis.config('SET', 'maxmemory', '0');
    await server.redis.flushall();
    for (const [name = '', ...args] of filled) await server.redis.callBuffer(name, ...args);
    if (isFull) await server.redis.config('SET', 'maxmemory', '1');
    const prepare = { ...prepareOf(1, names, ...parts), now: base + hour };
    const { votes } = executed(await client.round(roundOf({ prepares: [prepare], nonce: 'p' }), 0));
    const decided = executed(
      await client.round(roundOf({ decisions: [commitOf(1, names)], nonce: 'd' }), 0),
    );
    if (isFull) await server.redis.config('SET', 'maxmemory', '0');
    return [votes, decided.decisions, decided.history, await contents(server)];
  }

  it('has the same vote and effect as one staged under names of its own', async () => {
    // The embedded server has no bound of memory.
    const fullness = name === 'redis-server' ? fc.boolean() : fc.constant(false);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fillings, { maxLength: 4 }),
        transactions,
        fullness,
        async (filled, made, isFull) => {
          const base = Date.now();
          const commands = filled.flatMap((each) => each(base));
          const parts = made.map((each) => part(...each.map((operation) => operation(base))));
          const [inline, staged] = await Promise.all(
            ([0, 1] as const).map((at) => carryOut(at, commands, base, parts, isFull)),
          );
          expect(inline).toEqual(staged);
        },
      ),
      runCountOf(name === 'redis-server' ? 400 : 30),
    );
  });
});
