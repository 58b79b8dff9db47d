/** A region that release 0.1 has left answers any rounds and snapshots like one of the same contents in the present format. */
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '../../shared/contracts/round.ts';
import { emptyState, lockKey, readLocks, readState, writeState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  command,
  commitOf,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { listenerOf } from './implementations.ts';
import { runCountOf } from './oracle/run-count.ts';
import { startRedisServer, type TestServer } from './servers.ts';

const future = String(Date.now() + 3_600_000);
const news = 'lockstep:channel:news';

/** Undecided transactions of release 0.1, one of each intent: the locks by key, and the commands that have staged it. */
const open: readonly (readonly [
  Readonly<Record<string, string>>,
  ...(readonly (readonly string[])[]),
])[] = [
  [{ plain: 's||value' }],
  [{ expiring: `s|${future}|value`, second: 's||with|bars' }],
  [{ copied: 'p|-1' }, ['SET', 'lockstep:0:shadow:1.3:copied', '42']],
  [{ gone: 'd', kept: 'k' }],
  [{ [news]: 'm|1,4,2|newshi', told: 's||x' }],
  [
    { large: 'e|s|-1|1:b' },
    ['SADD', 'lockstep:0:shadow:1.6:large', `lockstep:0:rest${'.'.repeat(60)}`, 'new'],
  ],
  [{ dated: `p|${future}` }, ['RPUSH', 'lockstep:0:shadow:1.7:dated', 'item']],
];
const keysOf = (number: number) => Object.keys(open[number]?.[0] ?? {});
const own = open.map((_, number) => keysOf(number));

const base: readonly (readonly string[])[] = [
  ['SET', 'plain', 'old'],
  ['SET', 'copied', '41'],
  ['SET', 'gone', 'old'],
  ['SET', 'kept', 'old'],
  ['SADD', 'large', 'a', 'b', 'c'],
];

const number = fc.nat(open.length - 1);

type Step =
  | {
      readonly kind: 'round';
      readonly decided: readonly (readonly [number, boolean])[];
      readonly prepared: readonly number[];
      readonly incarnation: number;
      readonly low: number;
    }
  | { readonly kind: 'settle' | 'read'; readonly number: number }
  | { readonly kind: 'inspect' };

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('round' as const),
    decided: fc.uniqueArray(fc.tuple(number, fc.boolean()), {
      maxLength: 3,
      selector: ([one]) => one,
    }),
    prepared: fc.uniqueArray(number, { maxLength: 2 }),
    incarnation: fc.constantFrom(1, 1, 2),
    low: fc.constantFrom(0, 0, 0, 9),
  }),
  fc.record({ kind: fc.constantFrom('settle' as const, 'read' as const), number }),
  fc.constant({ kind: 'inspect' as const }),
);

describe('a region of release 0.1', () => {
  let both: readonly {
    readonly server: TestServer;
    readonly listener: Awaited<ReturnType<typeof listenerOf>>;
  }[];
  beforeAll(async () => {
    const started = await Promise.all([startRedisServer(), startRedisServer()]);
    both = await Promise.all(
      started.map(async (server) => ({ server, listener: await listenerOf(server.redis) })),
    );
  });
  afterAll(async () => {
    for (const { server, listener } of both) {
      listener.stop();
      await server.stop();
    }
  });

  async function begin(
    { redis }: TestServer,
    isOld: boolean,
    format: string | null,
    marked: readonly number[],
  ): Promise<void> {
    await redis.flushall();
    const staged = open.flatMap(([, ...commands]) => commands);
    for (const [name = '', ...args] of [...base, ...staged]) await redis.call(name, ...args);
    const locks = open.flatMap(([locked], at) =>
      Object.entries(locked).map(([key, intent]) => [key, `1.${at + 1}|${intent}`] as const),
    );
    if (isOld) {
      const counted = {
        generation: 1,
        epoch: 1,
        incarnation: 1,
        floor: '1.0',
        counter: 3,
        history: 'a,b,c,',
      };
      await redis.hset('lockstep:0:meta', {
        ...counted,
        phase: '',
        copyNumber: 0,
        ...(format === null ? {} : { format }),
      });
      await redis.hset(lockKey, Object.fromEntries(locks));
      // A transaction that is settled and has locks was not applied to its end.
      const settled = [20, 21, 23, ...marked.map((each) => each + 1)];
      await redis.zadd(
        'lockstep:0:done',
        ...settled.flatMap((sequence) => [2 ** 32 + sequence, `1.${sequence}`]),
      );
      return;
    }
    await writeState(redis, {
      ...emptyState,
      epoch: 1,
      incarnation: 1,
      lowWatermark: '1.0',
      counter: 3,
      history: ',1:a,2:b,3:c,',
      settled: '1.20-21,1.23-23,',
      locks: new Map(locks),
    });
  }

  async function perform({ redis }: TestServer, step: Step, at: number): Promise<unknown> {
    const client = connectDirectly(redis);
    if (step.kind === 'inspect') {
      const found = await client.inspect(0, { kind: 'locks', count: 100 }, 0);
      return found.kind === 'inspected'
        ? found.keys.map((each) => JSON.stringify(each)).sort()
        : found;
    }
    if (step.kind !== 'round') {
      const keys = own[step.number] ?? [];
      const settle = step.kind === 'settle' ? [commitOf(step.number + 1, keys)] : [];
      return client.snapshot(snapshotOf(keys, [command(['TYPE', keys[0] ?? ''])], { settle }), 0);
    }
    const decisions: readonly Decision[] = step.decided.map(([each, isCommit]) =>
      (isCommit ? commitOf : abortOf)(each + 1, own[each] ?? []),
    );
    const prepares = step.prepared.map((each, place) => {
      const [key = ''] = own[each] ?? [];
      const operation =
        place % 2 === 0 ? set(key, 'later') : write('HSET', `hash${each}`, 'f', 'v');
      return {
        ...prepareOf(100 + 10 * at + place, [key, `hash${each}`], part(operation)),
        transaction: [step.incarnation, 100 + 10 * at + place] as const,
      };
    });
    const result = await client.round(
      roundOf({
        decisions,
        prepares,
        nonce: `m${at}`,
        incarnation: step.incarnation,
        askOlder: step.incarnation > 1,
        lowWatermark: step.low === 0 ? [0, 0] : [1, step.low],
      }),
      0,
    );
    return result;
  }

  async function contents({ redis }: TestServer): Promise<unknown> {
    const own = /:(?:state|lock|meta|done)$/;
    const names = (await redis.keys('*')).filter((name) => !own.test(name)).sort();
    const values = names.map(async (name) => [
      name,
      await redis.pexpiretime(name),
      await contentOf(redis, name),
    ]);
    return [await Promise.all(values), await readLocks(redis)];
  }

  it('answers like one of the present format, and becomes one', async () => {
    const given = [
      fc.constantFrom(null, '2'),
      fc.uniqueArray(number, { maxLength: 2 }),
      fc.array(steps, { minLength: 1, maxLength: 7 }),
    ] as const;
    await fc.assert(
      fc.asyncProperty(...given, async (format, marked, made) => {
        const [old, present] = both;
        if (old === undefined || present === undefined) throw new Error('there are two servers');
        await begin(old.server, true, format, marked);
        await begin(present.server, false, format, marked);
        for (const [at, step] of made.entries()) {
          const answers = await Promise.all(
            [old, present].map(({ server }) => perform(server, step, at)),
          );
          expect(answers[0]).toEqual(answers[1]);
        }
        for (const { server } of both)
          await connectDirectly(server.redis).round(
            roundOf({ epoch: 9, incarnation: 2, nonce: 'end' }),
            0,
          );
        expect(await contents(old.server)).toEqual(await contents(present.server));
        expect(await old.listener.published()).toEqual(await present.listener.published());
        const [first, second] = await Promise.all(
          [old, present].map(({ server }) => readState(server.redis)),
        );
        expect({ ...first, locks: null, hasFarLocks: null }).toEqual({
          ...second,
          locks: null,
          hasFarLocks: null,
        });
        expect(await old.server.redis.exists('lockstep:0:meta', 'lockstep:0:done')).toBe(0);
      }),
      runCountOf(150),
    );
  });
});

async function contentOf(redis: Redis, name: string): Promise<unknown> {
  switch (await redis.type(name)) {
    case 'set':
      return (await redis.smembers(name)).sort();
    case 'list':
      return redis.lrange(name, 0, -1);
    case 'hash':
      return redis.hgetall(name);
    default:
      return redis.get(name);
  }
}
