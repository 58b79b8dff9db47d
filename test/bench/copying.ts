import { setTimeout as delay } from 'node:timers/promises';
import type { Stack, StackRegion } from '../../local/stack/stack.ts';
import { connectTo } from '../support/redis.ts';
import type { BenchClient, BenchMemberChange } from './client.ts';
import { BenchLoad, lengthMs, longestStop, nowMs } from './load.ts';
import { type Figure, median, timed } from './measure.ts';
import { copyByRest, copyPlainly } from './plain-copy.ts';

/** A whole copy of many small keys into an empty region, under continuous writes. */

const keys = 100_000;
/** One key per this number is a hash; the others are strings of 50 bytes. */
const hashEvery = 5;
const fieldsPerHash = 5;
const keysPerPipeline = 1_000;
const writesPerSecond = 50;
/** Both ways to copy alternate, so that a slow moment of the machine affects both. */
const runs = 3;
const keysByRest = 3_000;
const patienceMs = 120_000;

type Say = (line: string) => void;

/** Measures the copy against DUMP and RESTORE between the same two servers, under the same writes. */
export async function measureCopying(
  stack: Stack,
  client: BenchClient,
  say: Say,
): Promise<readonly Figure[]> {
  const [first, target] = stack.regions;
  if (first === undefined || target === undefined) throw new Error('a copy takes two regions');
  say(`Copying: ${keys} keys in each region …`);
  await Promise.all(stack.regions.map(fill));
  const load = new BenchLoad(client, writesPerSecond, (number) => ({
    ops: [['SET', stringKey((number * 7_919) % keys), textOf(number)]],
  }));
  const samples: Sample[] = [];
  for (let run = 1; run <= runs; run += 1) {
    const sample = await measureOnce(client, target, stack.regions);
    samples.push(sample);
    say(
      `  run ${run} of ${runs}: copied in ${Math.round(sample.copyMs)} ms, plainly in ${Math.round(sample.plainMs)} ms, from ${sample.source}`,
    );
  }
  const endMs = nowMs();
  await load.stop();
  const stop = longestStop(load.answeredAtMs, { fromMs: load.startedAtMs, toMs: endMs });
  await client.settled();
  say('  comparing the regions …');
  const comparison = await client.verify();
  const idle = await measureIdle(client, first, target);
  const copyMs = median(samples.map((sample) => sample.copyMs));
  const plainMs = median(samples.map((sample) => sample.plainMs));
  const count = (name: string, value: number): Figure => ({ name, value, unit: 'count', limit: 0 });
  return [
    plain(`pipelined DUMP and RESTORE of ${keys} keys, by TCP`, plainMs),
    plain('  with no writes meanwhile', idle.plainMs),
    plain('  by REST, a request for each RESTORE, for as many keys', idle.restMs),
    plain(`whole copy of ${keys} keys, from its beginning to the vote`, copyMs),
    {
      name: '  of DUMP and RESTORE under the same writes',
      value: median(samples.map((sample) => sample.copyMs / sample.plainMs)),
      unit: 'ratio',
      limit: 1.5,
    },
    {
      name: '  of DUMP and RESTORE with no writes',
      value: copyMs / idle.plainMs,
      unit: 'ratio',
      limit: null,
    },
    plain('  longest stop of writes in all of this', lengthMs(stop)),
    {
      name: '  keys that verify compared',
      value: comparison.checked,
      unit: 'count',
      limit: null,
    },
    count('  keys that differ afterwards', comparison.differing),
    count('  keys that it could not compare', comparison.undecided),
  ];
}

function plain(name: string, value: number): Figure {
  return { name, value, unit: 'ms', limit: null };
}

interface Sample {
  readonly copyMs: number;
  readonly plainMs: number;
  readonly source: string;
}

/** One plain copy and one of Lockstep, each into the emptied region, which stays out meanwhile. */
async function measureOnce(
  client: BenchClient,
  target: StackRegion,
  regions: readonly StackRegion[],
): Promise<Sample> {
  const { id } = target.place;
  const since = (await client.members(0)).at(-1)?.sequence ?? 0;
  await client.order(`/regions/${id}/out`, {});
  await changed(client, id, 'out', since);
  await target.redis.wipe();
  // Writes continue, so that both copies run under the same load.
  const source = regions.find(({ place }) => place.id !== id);
  if (source === undefined) throw new Error('a copy takes two regions');
  const plainMs = await timed(() => copyPlainly(source, target));
  await target.redis.wipe();
  await target.gateway.ready();
  await client.order(`/regions/${id}/return`, { whole: true, force: true });
  const sourceOfCopy = sourceOf(client, id);
  const back = await changed(client, id, 'returned', since);
  const begun = (await client.members(since)).findLast(({ event }) => event === 'copying');
  const copyMs = back.atMs - (begun?.atMs ?? Number.NaN);
  return { copyMs, plainMs, source: await sourceOfCopy };
}

/** Without any writes of Lockstep. Lockstep copies the region again in the end. */
async function measureIdle(
  client: BenchClient,
  source: StackRegion,
  target: StackRegion,
): Promise<{ readonly plainMs: number; readonly restMs: number }> {
  const { id } = target.place;
  const since = (await client.members(0)).at(-1)?.sequence ?? 0;
  await client.order(`/regions/${id}/out`, {});
  await changed(client, id, 'out', since);
  const plainMs: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await target.redis.wipe();
    plainMs.push(await timed(() => copyPlainly(source, target)));
  }
  let copied = 0;
  const ms = await timed(async () => {
    copied = await copyByRest(source, target, keysByRest);
  });
  return { plainMs: median(plainMs), restMs: (ms / copied) * keys };
}

/** The source of the copy in progress. */
async function sourceOf(client: BenchClient, region: string): Promise<string> {
  for (;;) {
    const copy = await client.copyOf(region);
    if (copy !== null && copy.source !== '') return copy.source;
    await delay(50);
  }
}

/** Resolves with the change once it has happened. */
async function changed(
  client: BenchClient,
  region: string,
  event: string,
  since: number,
): Promise<BenchMemberChange> {
  for (const deadline = nowMs() + patienceMs; nowMs() < deadline; await delay(50)) {
    const changes = await client.members(since);
    const change = changes.find((one) => one.region === region && one.event === event);
    if (change !== undefined) return change;
  }
  throw new Error(`${region} is not ${event} after ${patienceMs} ms`);
}

/** Fills past Lockstep, with the same data in all regions. */
async function fill({ redis }: StackRegion): Promise<void> {
  const client = connectTo(redis.port);
  for (let first = 0; first < keys; first += keysPerPipeline) {
    const pipeline = client.pipeline();
    for (let number = first; number < first + keysPerPipeline; number += 1) {
      if (number % hashEvery === 0) pipeline.hset(`copy:hash:${number}`, fieldsOf(number));
      else pipeline.set(stringKey(number), textOf(number));
    }
    await pipeline.exec();
  }
  client.disconnect();
}

function stringKey(number: number): string {
  return `copy:string:${number}`;
}

/** Fifty bytes. */
function textOf(number: number): string {
  return `value ${number} `.padEnd(50, 'abcdefghij');
}

function fieldsOf(number: number): Readonly<Record<string, string>> {
  const fields = Array.from({ length: fieldsPerHash }, (_, at) => [
    `field${at}`,
    `${number}:${at}`,
  ]);
  return Object.fromEntries(fields);
}
