import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../local/stack.ts';
import type { BenchClient } from './client.ts';
import { addedMs } from './latency.ts';
import { Load, lengthMs, longestStop } from './load.ts';
import { type Figure, median } from './measure.ts';

/** How long a region that returns holds all writes: few keys, and the round trips between AWS regions. */

const writesPerSecond = 200;
const returnsPerRegion = 3;
const outMs = 1_000;
/** Around the moment of the return; a hold cannot begin earlier or end later. */
const aroundMs = 1_500;
const patienceMs = 60_000;

/** Every region goes and returns some times; the longest gap between answered writes around a return is its hold. */
export async function measureHold(
  stack: Stack,
  client: BenchClient,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  say('Holds …');
  const farthestMs = addedMs(stack);
  const load = new Load(client, writesPerSecond, (number) => ({
    ops: [['SET', `hold:${number % 5_000}`, String(number)]],
  }));
  await delay(2_000);
  const holdsMs: number[] = [];
  const calmMs: number[] = [];
  for (const { place } of stack.regions) {
    for (let number = 0; number < returnsPerRegion; number += 1) {
      const backMs = await goAndReturn(client, place.id);
      await delay(2 * aroundMs);
      const around = { fromMs: backMs - aroundMs, toMs: backMs + aroundMs };
      holdsMs.push(lengthMs(longestStop(load.answeredAtMs, around)));
      const after = { fromMs: backMs + aroundMs, toMs: backMs + 2 * aroundMs };
      calmMs.push(lengthMs(longestStop(load.answeredAtMs, after)));
      say(`  ${place.id} returned: writes stood still for ${Math.round(holdsMs.at(-1) ?? 0)} ms`);
    }
  }
  await load.stop();
  return [
    {
      name: 'gap between writes with all regions, p50',
      value: median(calmMs),
      unit: 'ms',
      limit: null,
    },
    { name: 'gap around a return, p50', value: median(holdsMs), unit: 'ms', limit: null },
    { name: '  longest', value: Math.max(...holdsMs), unit: 'ms', limit: null },
    {
      name: `  longest, in round trips of ${farthestMs} ms`,
      value: Math.max(...holdsMs) / farthestMs,
      unit: 'ratio',
      limit: 3,
    },
  ];
}

/** Puts a region out and lets it return. Answers the moment at which it votes again. */
async function goAndReturn(client: BenchClient, region: string): Promise<number> {
  const since = (await client.members(0)).at(-1)?.sequence ?? 0;
  const happened = async (event: string) => {
    for (const deadline = performance.now() + patienceMs; performance.now() < deadline; ) {
      const changes = await client.members(since);
      const change = changes.find((one) => one.region === region && one.event === event);
      if (change !== undefined) return change.atMs;
      await delay(50);
    }
    throw new Error(`${region} is not ${event} after ${patienceMs} ms`);
  };
  await client.order(`/regions/${region}/out`, {});
  await happened('out');
  await delay(outMs);
  await client.order(`/regions/${region}/return`, {});
  return happened('returned');
}
