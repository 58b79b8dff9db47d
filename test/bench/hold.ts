import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../local/stack/stack.ts';
import type { BenchClient } from './client.ts';
import { addedMs } from './latency.ts';
import { BenchLoad, lengthMs, longestStop, nowMs } from './load.ts';
import { type Figure, median } from './measure.ts';

/** The time for which a returning region holds all writes: few keys, and the round trips between AWS regions. */

const writesPerSecond = 200;
const returnsPerRegion = 3;
const outMs = 1_000;
/** The time before and after a return. */
const aroundMs = 1_500;
const askedEveryMs = 5;
const patienceMs = 60_000;

/** The measurements of one return. */
interface Sample {
  /** The hold: the shorter one of `heldMs` and `gapMs`, since each contains delays of its own. */
  readonly holdMs: number;
  /** From the first response with `held` to the first one without; the longest of several holds. */
  readonly heldMs: number;
  /** Holds that ended before the region voted. */
  readonly givenUp: number;
  /**
   * The longest time between two acknowledged writes around the return. The last ones before were acknowledged a
   * round trip after they began, and so are the first ones after, so that it is no shorter than the hold.
   */
  readonly gapMs: number;
}

/** Every region leaves and returns a few times. */
export async function measureHold(
  stack: Stack,
  client: BenchClient,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  say('Holds …');
  const load = new BenchLoad(client, writesPerSecond, (number) => ({
    ops: [['SET', `hold:${number % 5_000}`, String(number)]],
  }));
  const calm = { fromMs: nowMs() + aroundMs, toMs: nowMs() + 3 * aroundMs };
  await delay(3 * aroundMs);
  const calmGapMs = lengthMs(longestStop(load.answeredAtMs, calm));
  const samples: Sample[] = [];
  for (const { place } of stack.regions) {
    for (let number = 0; number < returnsPerRegion; number += 1) {
      const sample = await measureReturn(client, place.id, load);
      samples.push(sample);
      const { heldMs, gapMs, givenUp } = sample;
      say(
        `  ${place.id}: held for ${Math.round(heldMs)} ms, no answer for ${Math.round(gapMs)} ms${givenUp > 0 ? `, ${givenUp} given up` : ''}`,
      );
    }
  }
  await load.stop();
  return figuresOf(samples, calmGapMs, addedMs(stack));
}

function figuresOf(
  samples: readonly Sample[],
  calmGapMs: number,
  farthestMs: number,
): readonly Figure[] {
  const holdsMs = samples.map((sample) => sample.holdMs);
  const gapsMs = samples.map((sample) => sample.gapMs);
  const givenUp = samples.reduce((sum, sample) => sum + sample.givenUp, 0);
  const plain = (name: string, value: number): Figure => ({ name, value, unit: 'ms', limit: null });
  return [
    plain('hold of a return, p50', median(holdsMs)),
    plain('  longest', Math.max(...holdsMs)),
    {
      name: `  longest, in round trips of ${farthestMs} ms`,
      value: Math.max(...holdsMs) / farthestMs,
      unit: 'ratio',
      limit: 3,
    },
    { name: '  holds that were given up', value: givenUp, unit: 'count', limit: null },
    plain('longest gap between writes around a return, p50', median(gapsMs)),
    plain('  longest', Math.max(...gapsMs)),
    plain('  with no return in three seconds', calmGapMs),
  ];
}

/** Evicts a region and lets it return. */
async function measureReturn(
  client: BenchClient,
  region: string,
  load: BenchLoad,
): Promise<Sample> {
  const since = (await client.members(0)).at(-1)?.sequence ?? 0;
  await client.order(`/regions/${region}/out`, {});
  await happened(client, region, 'out', since);
  await delay(outMs);
  let isBack = false;
  const watching = watchHolds(client, () => isBack);
  await client.order(`/regions/${region}/return`, {});
  const backMs = await happened(client, region, 'returned', since);
  isBack = true;
  const holdsMs = await watching;
  await delay(aroundMs);
  const around = { fromMs: backMs - aroundMs, toMs: backMs + aroundMs };
  const gapMs = lengthMs(longestStop(load.answeredAtMs, around));
  // A hold may be shorter than the time between two polls.
  const heldMs = holdsMs.length === 0 ? gapMs : Math.max(...holdsMs);
  const givenUp = Math.max(0, holdsMs.length - 1);
  return { holdMs: Math.min(heldMs, gapMs), heldMs, gapMs, givenUp };
}

/** The durations of the observed holds, until `isOver` and none is left. */
async function watchHolds(client: BenchClient, isOver: () => boolean): Promise<readonly number[]> {
  const holdsMs: number[] = [];
  let sinceMs: number | null = null;
  while (!isOver() || sinceMs !== null) {
    const isHeld = await client.isHeld();
    if (isHeld) sinceMs ??= nowMs();
    else if (sinceMs !== null) {
      holdsMs.push(nowMs() - sinceMs);
      sinceMs = null;
    }
    await delay(askedEveryMs);
  }
  return holdsMs;
}

async function happened(
  client: BenchClient,
  region: string,
  event: string,
  since: number,
): Promise<number> {
  for (const deadline = nowMs() + patienceMs; nowMs() < deadline; await delay(50)) {
    const changes = await client.members(since);
    const change = changes.find((one) => one.region === region && one.event === event);
    if (change !== undefined) return change.atMs;
  }
  throw new Error(`${region} is not ${event} after ${patienceMs} ms`);
}
