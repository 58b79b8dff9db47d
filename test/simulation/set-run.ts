import type { Decision, Prepare, RoundPair } from '../../shared/contracts/round.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { command, flush, part, roundOf, set, snapshotOf } from '../region/fixtures.ts';
import { Random } from './random.ts';
import { agree, beginEmpty, exchange } from './region-run.ts';

export { end } from './region-run.ts';

const keys = ['a', 'b', 'c'];
const hour = 3_600_000;
const base = Date.now();

/** A transaction whose decision may come. */
interface Known {
  readonly transaction: Prepare['transaction'];
  readonly keys: readonly string[];
}

/** Reads all keys, also locked ones. */
const request = snapshotOf(
  [],
  keys.map((key) => command(['GET', key])),
  { strong: false },
);

/** The run so far. */
interface Run {
  readonly random: Random;
  readonly known: Known[];
  epoch: number;
  incarnation: number;
  watermark: number;
  pairs: readonly RoundPair[];
}

/**
 * One seeded run of the most common rounds: transactions that set values, and their decisions, in order but for a few
 * that are late, repeated, or from before a change. The model of a region and the scripts on the embedded server answer
 * the same.
 */
export async function run(seed: number): Promise<{ readonly rounds: number }> {
  const run: Run = {
    random: new Random(seed),
    known: [],
    epoch: 1,
    incarnation: 1,
    watermark: 0,
    pairs: [],
  };
  const rounds = run.random.between(6, 24);
  await beginEmpty();
  for (let count = 0; count < rounds; count += 1) {
    await sendNext(run);
    await agree('a snapshot', (implementation) => implementation.snapshot(request));
  }
  return { rounds };
}

async function sendNext(run: Run): Promise<void> {
  const { random } = run;
  const isLate = random.chance(0.15);
  if (random.chance(0.05)) run.epoch += 1;
  if (random.chance(0.05)) run.incarnation += 1;
  const newest = run.known.length;
  if (random.chance(0.2)) run.watermark = Math.max(run.watermark, newest - random.between(0, 3));
  const decides = newest > 0 && random.chance(0.5);
  const round = roundOf({
    generation: random.chance(0.03) ? 2 : 1,
    epoch: isLate ? Math.max(1, run.epoch - 1) : run.epoch,
    incarnation: isLate ? Math.max(1, run.incarnation - 1) : run.incarnation,
    lowWatermark: [1, random.chance(0.1) ? 0 : run.watermark],
    lastAcknowledged: acknowledgedOf(run),
    decisions: decides ? [decisionOf(run)] : [],
    prepares: decides ? [] : [prepareOf(run)],
  });
  run.pairs = await exchange(round, 0);
}

/** The last pair, an older one, or one that no region of this run has. */
function acknowledgedOf({ random, pairs }: Run): RoundPair | null {
  if (random.chance(0.08)) return [random.between(1, 9), 'other'];
  return random.chance(0.8) ? (pairs.at(-1) ?? null) : (pairs[0] ?? null);
}

/** Of one of the last transactions, or of one that has not come, whose keys others may have locked. */
function decisionOf({ random, known, incarnation }: Run): Decision {
  const outcome = random.pick(['commit', 'commit', 'commit', 'abort'] as const);
  if (random.chance(0.1)) {
    return { transaction: [incarnation, known.length + 1], outcome, keys: [random.pick(keys)] };
  }
  const back = random.pick([1, 1, 1, 1, 2, 3]);
  const found = known[Math.max(0, known.length - back)];
  return { transaction: found?.transaction ?? [1, 1], outcome, keys: found?.keys ?? keys };
}

/** A new transaction, or one that comes again. */
function prepareOf({ random, known, incarnation }: Run): Prepare {
  // Any lock would be in its way, and the model may name another one.
  const isAll = known.length === 0 && random.chance(0.3);
  const repeated = random.chance(0.12) ? known.at(-random.between(1, 2)) : undefined;
  const first = random.between(0, 2);
  const held = isAll
    ? [...flush.args]
    : keys.slice(first, first + random.between(1, Math.max(1, 3 - first)));
  const transaction = repeated?.transaction ?? ([incarnation, known.length + 1] as const);
  const chosen = repeated?.keys ?? held;
  if (repeated === undefined) known.push({ transaction, keys: chosen });
  const operations = chosen.includes(everyKey)
    ? [flush]
    : chosen.map((key) => {
        const text = random.pick(['1', 'x', '|s||y', '']);
        return set(
          key,
          text,
          random.chance(0.1) ? String(base + random.pick([hour, 3 * hour])) : '',
        );
      });
  return {
    transaction,
    keys: chosen,
    now: base + random.pick([0, 2 * hour]),
    parts: [part(...operations)],
  };
}
