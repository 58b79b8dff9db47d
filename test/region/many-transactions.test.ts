/**
 * Random rounds with many transactions in flight: small and large ones, decided in any order, under several
 * incarnations, while the low watermark rises. The scripts answer like the model, and keep the state that follows from it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Decision, Prepare, Round } from '../../shared/contracts/round.ts';
import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { lockKey, readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import { command, executed, flush, part, roundOf, set, snapshotOf, write } from './fixtures.ts';
import { RegionModel } from './model.ts';
import { runCountOf } from './oracle/run-count.ts';
import { bytesOf } from './replies.ts';
import { servers, type TestServer } from './servers.ts';

/** Keys that resemble other parts of the state, or contain its separators. */
const strangeKeys = [
  '',
  '|',
  '3 1 1 1 1.1 1 0 0  1 0|,',
  ',1:m,',
  '5 7 k',
  ' ',
  '1.1|d',
  '\0',
  'ü€',
  'é',
  '\n',
];
const values = [
  '',
  '|',
  ',1:m1,',
  '1.2|s||x',
  '\0é',
  'x'.repeat(700),
  'y'.repeat(4_000),
  '3'.repeat(8_170),
];

/** A transaction: its keys, and its operation on each of them. */
interface Shape {
  readonly keys: readonly string[];
  readonly value: string;
  readonly kind: 'set' | 'hash' | 'flush';
}

const shapes: fc.Arbitrary<Shape> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      keys: fc.uniqueArray(fc.constantFrom(...strangeKeys, 'a', 'b', 'c'), {
        minLength: 1,
        maxLength: 3,
      }),
      value: fc.constantFrom(...values),
      kind: fc.constant('set' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      keys: fc.constantFrom(['h1'], ['h2'], ['h1', 'h2']),
      value: fc.constantFrom('v', 'é'),
      kind: fc.constant('hash' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1, max: 600 }))
      .map(([from, count]) => ({
        keys: Array.from({ length: count }, (_, at) => `many${from + at}`),
        value: 'v',
        kind: 'set' as const,
      })),
  },
  {
    weight: 1,
    arbitrary: fc.constant({ keys: [everyKey, flushedKey], value: '', kind: 'flush' as const }),
  },
);

interface Step {
  readonly incarnation: number;
  readonly raises: boolean;
  /** The transactions to prepare and to decide, by position among all shapes. */
  readonly prepared: readonly number[];
  readonly decided: readonly (readonly [number, boolean])[];
  readonly lowWatermark: number;
  readonly askOlder: boolean;
}

const most = 14;
const numbers = fc.integer({ min: 0, max: most - 1 });
const steps: fc.Arbitrary<Step> = fc.record({
  incarnation: fc.constantFrom(1, 1, 1, 2),
  raises: fc.constantFrom(false, false, false, true),
  prepared: fc.uniqueArray(numbers, { maxLength: 4 }),
  decided: fc.uniqueArray(fc.tuple(numbers, fc.boolean()), {
    maxLength: 4,
    selector: ([number]) => number,
  }),
  lowWatermark: fc.constantFrom(0, 0, 0, 0, 1, 2, 3, 5, 8),
  askOlder: fc.boolean(),
});

function operationsOf({ keys, value, kind }: Shape) {
  if (kind === 'flush') return [flush];
  return keys.map((key) => (kind === 'hash' ? write('HSET', key, 'f', value) : set(key, value)));
}

describe.each(servers)('many transactions in %s', (server, start) => {
  let current: TestServer;
  beforeAll(async () => {
    current = await start();
  });
  afterAll(() => current.stop());

  /** The state's settled transactions, as names in their order. */
  function settledOf(text: string): readonly TransactionOrder[] {
    expect(text).toMatch(/^(?:\d+\.\d+-\d+,)*$/);
    const runs = [...text.matchAll(/(\d+)\.(\d+)-(\d+),/g)].map((found) =>
      found.slice(1).map(Number),
    );
    for (const [index, [incarnation = 0, first = 0, last = 0]] of runs.entries()) {
      expect(first).toBeLessThanOrEqual(last);
      const [before = 0, , end = 0] = runs[index - 1] ?? [];
      // Runs are in order, and two that touch are one.
      expect(incarnation > before || (incarnation === before && first > end + 1)).toBe(true);
    }
    return runs.flatMap(([incarnation = 0, first = 0, last = 0]) =>
      Array.from({ length: last - first + 1 }, (_, at) => [incarnation, first + at] as const),
    );
  }

  async function compareStates(model: RegionModel): Promise<void> {
    const [state, locks] = await Promise.all([readState(current.redis), readLocks(current.redis)]);
    const kept = model.shard();
    const records = [...locks].map(([key, record]) => [key, record.split('|', 1)[0]]);
    const expected = model.locks().map(([key, holder]) => [bytesOf(key), holder.join('.')]);
    const byKey = (items: readonly (readonly (string | undefined)[])[]) =>
      items.map((item) => JSON.stringify(item)).sort();
    expect(byKey(records)).toEqual(byKey(expected));
    const settled = [...kept.settled.values()]
      .filter((order) => compareOrder(order, kept.head?.lowWatermark ?? [0, 0]) > 0)
      .sort(compareOrder);
    expect(settledOf(state?.settled ?? '')).toEqual(settled);
    const hasFar = (await current.redis.exists(lockKey)) === 1;
    if (hasFar) expect(state?.hasFarLocks).toBe(true);
    const near = [...(state?.locks ?? [])].reduce(
      (sum, [key, record]) => sum + key.length + record.length,
      0,
    );
    expect(near).toBeLessThanOrEqual(8_192);
  }

  it('answer like the model in any order, and leave its locks, settled transactions and values', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(shapes, { minLength: most, maxLength: most }),
        fc.array(steps, { minLength: 3, maxLength: 14 }),
        async (chosen, made) => {
          await current.redis.flushall();
          const client = connectDirectly(current.redis);
          const model = new RegionModel(() => Date.now());
          const orderOf = (incarnation: number, number: number): TransactionOrder => [
            incarnation,
            number + 1,
          ];
          let incarnation = 1;
          for (const [at, step] of made.entries()) {
            if (step.raises) incarnation = 2;
            const older = Math.min(step.incarnation, incarnation);
            const shapeOf = (number: number) =>
              chosen[number] ?? { keys: [], value: '', kind: 'set' as const };
            const prepares = step.prepared.map((number): Prepare => {
              const shape = shapeOf(number);
              return {
                transaction: orderOf(incarnation, number),
                keys: shape.keys,
                now: Date.now(),
                parts: [part(...operationsOf(shape))],
              };
            });
            const decisions = step.decided.map(
              ([number, isCommit]): Decision => ({
                transaction: orderOf(older, number),
                outcome: isCommit ? 'commit' : 'abort',
                keys: shapeOf(number).keys,
              }),
            );
            const round: Round = roundOf({
              incarnation,
              prepares,
              decisions,
              nonce: `m${at}`,
              askOlder: step.askOlder,
              lowWatermark: step.lowWatermark === 0 ? [0, 0] : [older, step.lowWatermark],
            });
            const [expected, found] = [
              executed(model.round(round)),
              executed(await client.round(round, 0)),
            ];
            const { clock: _, isFull: __, ...answered } = found;
            const { clock: ___, isFull: ____, ...wanted } = expected;
            expect(namesOfVotes(answered)).toEqual(namesOfVotes(wanted));
            await compareStates(model);
            if (at % 3 === 0) {
              const keys = [
                ...strangeKeys.filter((key) => key.isWellFormed()),
                'a',
                'many5',
                'many300',
              ];
              const request = snapshotOf(
                keys,
                keys.map((key) => command(['GET', key])),
              );
              const [first, second, other] = [
                await client.snapshot(request, 0),
                await client.snapshot(request, 0),
                model.snapshot(request),
              ];
              expect([first, second]).toEqual([other, other]);
            }
          }
          for (const key of ['a', 'b', '', '|', 'many7', 'many400']) {
            const found = (await current.redis.getBuffer(key))?.toString('latin1') ?? null;
            expect([key, found]).toEqual([key, model.run('GET', key)]);
          }
        },
      ),
      runCountOf(server === 'redis-server' ? 150 : 10),
    );
  });
});

/** The answer without the name of the lock that a flush has met: it may meet any. */
function namesOfVotes<Answer extends { readonly votes: readonly { readonly kind: string }[] }>(
  answer: Answer,
) {
  return {
    ...answer,
    votes: answer.votes.map((vote) => ('holder' in vote ? { kind: vote.kind } : vote)),
  };
}
