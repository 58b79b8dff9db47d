/** Compares random rounds in the model and both servers. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import type { Check, Operation } from '../../shared/contracts/frame.ts';
import type { CopyStep, Decision, Part, Prepare, Round } from '../../shared/contracts/round.ts';
import {
  checked,
  command,
  del,
  increment,
  part,
  pop,
  publish,
  read,
  rename,
  roundOf,
  set,
  snapshotOf,
  ttl,
  write,
} from './fixtures.ts';
import { type Implementation, implementations } from './implementations.ts';

const keys = ['a', 'b', 'ключ', '__proto__', ''];
const channels = ['c', 'канал|'];
const locked = [...keys, ...channels.map(channelKey)];
const base = Date.now();
const hour = 3_600_000;

const key = fc.constantFrom(...keys);
const text = fc.constantFrom('', '1', '-5', '9007199254740992', 'x', 'é\0', '|s|');
/** Expiries that have passed by no clock, and lie on both sides of the transactions' clocks. */
const expiry = fc.constantFrom(hour, hour + 1, hour + 2, 2 * hour).map((ms) => String(base + ms));
const seed = fc.integer({ min: 0, max: 2_147_483_647 });

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(key, text).map(([name, value]) => set(name, value)),
  fc.tuple(key, text, expiry).map(([name, value, at]) => set(name, value, at)),
  key.map(increment),
  fc
    .tuple(key, text)
    .map(([name, by]) => ({ ...write('INCRBY', name, by), reply: 'exact' as const })),
  fc.tuple(key, text).map(([name, more]) => write('APPEND', name, more)),
  fc.tuple(key, text).map(([name, value]) => write('SET', name, value, 'NX', 'GET')),
  fc.tuple(key, text, text).map(([name, field, value]) => write('HSET', name, field, value)),
  fc.tuple(key, text).map(([name, field]) => write('HINCRBY', name, field, '3')),
  fc.tuple(key, text, text).map(([name, one, two]) => write('SADD', name, one, two)),
  fc.tuple(key, text).map(([name, member]) => write('SREM', name, member)),
  fc.tuple(key, text, text).map(([name, one, two]) => write('LPUSH', name, one, two)),
  fc.tuple(key, text).map(([name, member]) => write('ZADD', name, '1.5', member)),
  fc.tuple(key, expiry).map(([name, at]) => write('PEXPIREAT', name, at)),
  key.map((name) => write('PERSIST', name)),
  fc.tuple(key, key).map(([from, to]) => rename(from, to)),
  fc.tuple(key, key).map(([one, two]) => del(one, two)),
  fc
    .tuple(key, fc.constantFrom('', '0', '1', '5'), seed)
    .map(([name, count, by]) => pop(name, count, by)),
  fc
    .tuple(fc.constantFrom('TTL' as const, 'PTTL' as const), key)
    .map(([name, of]) => ttl(name, of)),
  key.map((name) => read(['GET', name])),
  key.map((name) => read(['HGETALL', name], 'pairs')),
  key.map((name) => read(['SMEMBERS', name], 'members')),
  key.map((name) => read(['LRANGE', name, '0', '-1'])),
  fc.tuple(key, text).map(([name, member]) => read(['ZSCORE', name, member])),
  key.map((name) => read(['TYPE', name])),
  fc
    .tuple(fc.constantFrom(...channels), text)
    .map(([channel, message]) => publish(channel, message)),
);

const check: fc.Arbitrary<Check> = fc.oneof(
  fc.record({ kind: fc.constantFrom('absent' as const, 'exists' as const), key }),
  fc.record({ kind: fc.constant('equals' as const), key, value: text }),
  fc.record({
    kind: fc.constant('type' as const),
    key,
    type: fc.constantFrom('string' as const, 'hash' as const, 'set' as const),
  }),
  fc.record({ kind: fc.constant('field' as const), key, field: text, value: text }),
);

const aPart: fc.Arbitrary<Part> = fc
  .tuple(fc.option(check, { freq: 4 }), fc.array(operation, { maxLength: 4 }), fc.boolean())
  .map(([first, operations, continueOnError]) => ({
    ...(first ? checked(first, ...operations) : part(...operations)),
    continueOnError,
  }));

const transaction = fc.tuple(fc.constantFrom(1, 1, 1, 1, 1, 1, 2), fc.integer({ min: 1, max: 8 }));
const now = fc.constantFrom(0, hour, hour + 1).map((ms) => base + ms);

/** A transaction's keys follow from its name, since its decision has to name the same keys as its prepare. */
function keysOf([incarnation, sequence]: readonly [number, number]): readonly string[] {
  const given = sequence % 3 === 0 ? locked : locked.slice(sequence % 4);
  return incarnation === 2 ? given.toReversed() : given;
}

const prepare: fc.Arbitrary<Prepare> = fc
  .record({ transaction, now, parts: fc.array(aPart, { minLength: 1, maxLength: 4 }) })
  .map((given) => ({
    ...given,
    keys: keysOf(given.transaction),
    parts: given.parts.map(within(given.transaction)),
  }));

/** Drops operations and checks on keys that the transaction does not hold. */
function within(of: readonly [number, number]): (given: Part) => Part {
  const held = new Set(keysOf(of));
  return ({ checks, operations, continueOnError }) => ({
    continueOnError,
    checks: checks.filter((item) => held.has(item.key)),
    operations: operations.filter(({ args, writes, reads }) =>
      [...writes, ...reads].every((at) => held.has(args[at] ?? '')),
    ),
  });
}

const decision: fc.Arbitrary<Decision> = fc
  .record({
    transaction,
    outcome: fc.constantFrom('commit' as const, 'commit' as const, 'abort' as const),
  })
  .map((given) => ({ ...given, keys: keysOf(given.transaction) }));

const token = fc.constantFrom('first', 'second');
const number = fc.integer({ min: 1, max: 4 });

/** Copy steps with the same answers in every implementation. copying.test.ts covers copies of values. */
const copy: fc.Arbitrary<CopyStep> = fc.oneof(
  fc.record({
    kind: fc.constant('begin' as const),
    token,
    number,
    replaces: fc.constantFrom([], [1], [2]),
    agreed: fc.constantFrom(0, 1, 2),
  }),
  fc.record({ kind: fc.constant('write' as const), token, number, data: fc.constant([]) }),
);

const role = fc.constantFrom(
  ...Array.from({ length: 10 }, () => 'voter' as const),
  'copying' as const,
  'out' as const,
);

const mostlyOne = [...Array.from({ length: 19 }, () => 1), 2];

const round: fc.Arbitrary<Round> = fc
  .record({
    generation: fc.constantFrom(...mostlyOne),
    epoch: fc.constantFrom(...mostlyOne),
    incarnation: fc.constantFrom(...mostlyOne),
    askOlder: fc.boolean(),
    lowWatermark: fc.constantFrom(
      [0, 0] as const,
      [0, 0] as const,
      [1, 2] as const,
      [1, 4] as const,
    ),
    lastAcknowledged: fc.constantFrom(
      null,
      null,
      null,
      null,
      [1, 'nonce'] as const,
      [2, 'nonce'] as const,
    ),
    nonce: fc.constantFrom('nonce', 'nonce', 'nonce', 'nonce', 'other'),
    decisions: fc.array(decision, { maxLength: 3 }),
    prepares: fc.array(prepare, { maxLength: 3 }),
    role,
    copy: fc.oneof({ arbitrary: fc.constant(null), weight: 5 }, { arbitrary: copy, weight: 1 }),
  })
  .map((given) => roundOf(given));

describe('random rounds', () => {
  let opened: { readonly name: string; readonly region: Implementation }[] = [];
  beforeAll(async () => {
    opened = await Promise.all(
      implementations.map(async ([name, open]) => ({ name, region: await open() })),
    );
  });
  afterAll(() => Promise.all(opened.map(({ region }) => region.stop())));

  const agree = async (ask: (region: Implementation) => Promise<unknown>) => {
    const [model, ...others] = opened;
    if (model === undefined) throw new Error('no region is open');
    const expected = await ask(model.region);
    for (const { name, region } of others) expect(await ask(region), name).toEqual(expected);
  };

  it('have the same results and leave the same values in each implementation', async () => {
    const property = fc.asyncProperty(
      fc.array(round, { minLength: 1, maxLength: 8 }),
      async (rounds) => {
        await Promise.all(opened.map(({ region }) => region.wipe()));
        await Promise.all(opened.map(({ region }) => region.published()));
        for (const given of rounds) await agree((region) => region.round(given));
        await agree((region) => region.published());
        const reads = keys.flatMap((name) => [
          command(['TYPE', name]),
          command(['GET', name]),
          command(['HGETALL', name], 'pairs'),
          command(['SMEMBERS', name], 'members'),
          command(['LRANGE', name, '0', '-1']),
        ]);
        await agree((region) => region.snapshot(snapshotOf(keys, reads)));
        await agree((region) => region.snapshot(snapshotOf(keys, reads, { strong: false })));
      },
    );
    await fc.assert(property, { numRuns: Number(process.env.ROUNDS ?? 150) });
  });
});
