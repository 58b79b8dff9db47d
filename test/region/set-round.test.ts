/**
 * The most common rounds are carried out by a text of their own (set-round.lua), before round.lua. Both give the same
 * answers, and leave the same data and state.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Round, RoundPair } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { readState } from '../support/region-state.ts';
import { type DirectRegion, startBoth, withoutSetRound } from './direct.ts';
import { checked, del, part, roundOf, set } from './fixtures.ts';
import { runCountOf } from './oracle/run-count.ts';
import { servers, type TestServer } from './servers.ts';

const names = ['a', 'b', 'c', 'é', '', ',1:m1,', '\udc80'];
const keyOf = fc.constantFrom(...names, ...'defghijklm');
const counterKey = 'set-rounds';
const hour = 3_600_000;

/** Values that resemble parts of the state, and ones whose locks have no room in it. */
const values = fc.constantFrom(
  '',
  'v',
  '|',
  '|s||',
  '1.1|s||',
  '7 3 ',
  ',1:m1,',
  '\udcff',
  ...Array<string>(30).fill('w'),
  'x'.repeat(2_500),
  'y'.repeat(9_000),
);

/** One round; numbers count back from the newest transaction. */
interface Step {
  readonly prepares: readonly {
    readonly sets: readonly (readonly [key: string, value: string, expiresIn: number | null])[];
    readonly extra: 'nothing' | 'check' | 'delete' | 'twice' | 'lock only' | 'every key';
    readonly isSplit: boolean;
    readonly isRepeated: boolean;
  }[];
  readonly decisions: readonly {
    readonly back: number;
    readonly outcome: 'commit' | 'abort';
    readonly isPartial: boolean;
  }[];
  readonly incarnation: number;
  readonly epoch: number;
  readonly generation: number;
  readonly acknowledged: 'last' | 'none' | RoundPair;
  readonly watermark: number | null;
  readonly lease: number | null | 'none';
  readonly askOlder: boolean;
  readonly isFull: boolean;
}

const rarely = fc.constantFrom(...Array<boolean>(23).fill(false), true);

const prepares = fc.array(
  fc.record({
    sets: fc.uniqueArray(
      fc.tuple(keyOf, values, fc.constantFrom(...Array<null>(9).fill(null), hour, -1, 2 * hour)),
      { minLength: 1, maxLength: 3, selector: ([key]) => key },
    ),
    extra: fc.constantFrom(
      ...Array<'nothing'>(60).fill('nothing'),
      ...(['check', 'delete', 'twice', 'lock only', 'every key'] as const),
    ),
    isSplit: fc.boolean(),
    isRepeated: rarely,
  }),
  { minLength: 1, maxLength: 2 },
);

const decisions = fc.array(
  fc.record({
    back: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 1, 2, 3),
    outcome: fc.constantFrom('commit' as const, 'commit' as const, 'abort' as const),
    isPartial: rarely,
  }),
  { minLength: 1, maxLength: 2 },
);

const steps: fc.Arbitrary<Step> = fc
  .tuple(
    fc.constantFrom(
      ...['prepares', 'prepares', 'prepares', 'decisions', 'decisions', 'decisions', 'both'],
    ),
    fc.record({
      prepares,
      decisions,
      incarnation: fc.constantFrom(...Array<number>(60).fill(1), 2),
      epoch: fc.constantFrom(...Array<number>(60).fill(1), 2),
      generation: fc.constantFrom(...Array<number>(40).fill(1), 2),
      acknowledged: fc.oneof(
        {
          weight: 30,
          arbitrary: fc.constantFrom<'last' | 'none'>('last', 'last', 'last', 'none'),
        },
        { weight: 1, arbitrary: fc.constantFrom<RoundPair>([1, 'n1'], [2, 'n1'], [99, 'n1']) },
      ),
      watermark: fc.constantFrom(null, null, null, null, null, 0, 1, 2, 3, 4),
      lease: fc.constantFrom<'none' | null | number>('none', 'none', null, 0, 5_000),
      askOlder: rarely,
      isFull: rarely,
    }),
  )
  .map(([kind, step]) => ({
    ...step,
    prepares: kind === 'decisions' ? [] : step.prepares,
    decisions: kind === 'prepares' ? [] : step.decisions,
  }));

/** Counts the rounds that set-round.lua carries out. */
function counting(text: string): string {
  return text.replace(
    'if isRun and reply then',
    `if isRun and reply then redis.call('INCR','${counterKey}')`,
  );
}

describe.each(servers)('a common round in %s', (name, start) => {
  let both: readonly [DirectRegion, DirectRegion];
  beforeAll(async () => {
    both = await startBoth(start, counting, withoutSetRound);
  });
  afterAll(async () => {
    await Promise.all(both.map(({ server }) => server.stop()));
  });

  async function contents({ redis }: TestServer): Promise<unknown> {
    await redis.del(counterKey);
    const keys = (await redis.keysBuffer('*')).map((key) => key.toString('latin1')).sort();
    const users = keys.filter((key) => !key.startsWith('lockstep:'));
    const found = await Promise.all(
      users.map(async (key) => [
        (await redis.getBuffer(Buffer.from(key, 'latin1')))?.toString('latin1'),
        await redis.pexpiretime(Buffer.from(key, 'latin1')),
      ]),
    );
    const state = await readState(redis);
    const locks = [...(state?.locks ?? [])].sort();
    return [keys, found, { ...state, locks }, await redis.get('lockstep:0:lease')];
  }

  it('has the answer and effect that it has by round.lua', async () => {
    const [{ server: first }] = both;
    // The embedded server has no bound of memory.
    const hasBound = name === 'redis-server';
    let [rounds, common] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { minLength: 2, maxLength: 12 }), async (run) => {
        const base = Date.now();
        const made = roundsOf(run, base);
        const results = await Promise.all(
          both.map(async ({ server, client }) => {
            await server.redis.config('SET', 'maxmemory', '0');
            await server.redis.flushall();
            const answers: unknown[] = [];
            let last: RoundPair | null = null;
            for (const [index, round] of made.entries()) {
              const isFull = hasBound && run[index]?.isFull === true;
              if (isFull) await server.redis.config('SET', 'maxmemory', '1');
              const lastAcknowledged =
                run[index]?.acknowledged === 'last' ? last : round.lastAcknowledged;
              const answer = await client.round({ ...round, lastAcknowledged }, 0);
              if (isFull) await server.redis.config('SET', 'maxmemory', '0');
              if (answer.kind === 'executed') {
                last = answer.reply.history.at(-1) ?? last;
                const { clock, votes } = answer.reply;
                const compared = votes.map((vote, index) =>
                  // Any lock is in the way of a transaction about all keys.
                  round.prepares[index]?.keys.includes(everyKey) ? vote.kind : vote,
                );
                const reply = { ...answer.reply, clock: clock === null, votes: compared };
                answers.push({ ...answer, reply });
              } else answers.push(answer);
              if (server === first) {
                rounds += 1;
                common += Number(await server.redis.get(counterKey));
              }
              answers.push(await contents(server));
            }
            return answers;
          }),
        );
        expect(results[0]).toEqual(results[1]);
      }),
      runCountOf(name === 'redis-server' ? 400 : 30),
    );
    expect(common).toBeGreaterThan(rounds / 10);
  });

  /** The rounds of a run; the same for both servers. */
  function roundsOf(run: readonly Step[], base: number): readonly Round[] {
    const known: { transaction: TransactionOrder; keys: readonly string[] }[] = [];
    return run.map((step, at) => {
      const { incarnation } = step;
      const made = step.prepares.map((prepare) => {
        const sequence = prepare.isRepeated ? Math.max(1, known.length) : known.length + 1;
        const transaction: TransactionOrder = [incarnation, sequence];
        const pxatOf = (expiresIn: number | null) =>
          expiresIn === null ? '' : String(base + expiresIn);
        const operations = prepare.sets.map(([key, value, expiresIn]) =>
          set(key, value, pxatOf(expiresIn)),
        );
        const [one = set('a', '')] = operations;
        const [key = 'a'] = one.args;
        const keys = prepare.sets.map(([name]) => name);
        if (prepare.extra === 'lock only') keys.push('only locked');
        if (prepare.extra === 'every key') keys.push(everyKey);
        if (prepare.extra === 'delete') operations.push(del(key));
        if (prepare.extra === 'twice') operations.push(set(key, 'again'));
        const parts = prepare.isSplit
          ? operations.map((operation) => part(operation))
          : [part(...operations)];
        if (prepare.extra === 'check') parts.push(checked({ kind: 'absent', key: 'a' }));
        if (!prepare.isRepeated) known.push({ transaction, keys });
        return { transaction, keys, now: base, parts };
      });
      const decided = step.decisions.flatMap(({ back, outcome, isPartial }) => {
        const found = known[known.length - 1 - back];
        if (found === undefined) return [];
        const keys = isPartial ? found.keys.slice(1) : found.keys;
        return [{ transaction: found.transaction, outcome, keys }];
      });
      const { watermark, lease, acknowledged } = step;
      return roundOf({
        generation: at === 0 ? 1 : step.generation,
        epoch: step.epoch,
        incarnation,
        askOlder: step.askOlder,
        nonce: `n${at}`,
        lastAcknowledged: typeof acknowledged === 'string' ? null : acknowledged,
        lowWatermark:
          watermark === null ? [0, 0] : [1, Math.max(0, known.length - made.length - watermark)],
        lease:
          lease === 'none'
            ? null
            : { reading: lease === null ? null : base + lease, ttlMs: 100_000 },
        prepares: made,
        decisions: decided,
      });
    });
  }
});
