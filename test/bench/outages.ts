import { setTimeout as delay } from 'node:timers/promises';
import type { Stack, StackRegion } from '../../local/stack/stack.ts';
import { limits } from '../../shared/limits.ts';
import type { Mark, TimelineChart } from './chart.ts';
import { drawOutage } from './chart.ts';
import type { BenchClient, BenchComparison, BenchMemberChange } from './client.ts';
import { type Audit, Ledger } from './ledger.ts';
import { BenchLoad, lengthMs, longestStop, nowMs } from './load.ts';
import type { Figure } from './measure.ts';

/** Regions that fail and come back during continuous writes and strong reads. */

const writesPerSecond = 200;
const readersPerRegion = 2;
const calmBeforeMs = 5_000;
const calmAfterMs = 3_000;
/** A region that does not vote again by then counts as one that never will. */
const returnPatienceMs = 90_000;
/** The longest time for which writes may stop: a lease, and two seconds. */
const stopMs = limits.leaseTtlMs + limits.leaseDriftMs + 2_000;

const downMs = 10_000;
const cutMs = 30_000;
const snapshotAgeMs = 5_000;

type Say = (line: string) => void;
/** Records a label at the present time. */
type Note = (what: string) => void;

/** One way to fail. `fail` ends when the region could answer again. */
interface Case {
  readonly name: string;
  readonly region: string;
  readonly fail: (region: StackRegion, note: Note) => Promise<void>;
}

const cases: readonly Case[] = [
  {
    name: `killed, and started again after ${downMs / 1_000} s`,
    region: 'eu-west-1',
    fail: async ({ redis }, note) => {
      note('killed');
      await redis.kill();
      await delay(downMs);
      await redis.restart();
      note('started');
    },
  },
  {
    name: `cut off for ${cutMs / 1_000} s`,
    region: 'ap-northeast-1',
    fail: async ({ gateway }, note) => {
      note('cut off');
      gateway.faults.setLine({ reach: 'cut' });
      await delay(cutMs);
      gateway.faults.setLine({ reach: 'whole' });
      note('connected');
    },
  },
  {
    name: 'killed, and started empty',
    region: 'eu-west-1',
    fail: async ({ redis }, note) => {
      note('killed');
      await redis.wipe();
      note('started empty');
    },
  },
  {
    name: `killed, and started on a snapshot ${snapshotAgeMs / 1_000} s old`,
    region: 'us-east-1',
    fail: async ({ redis }, note) => {
      note('snapshot');
      await redis.snapshot();
      await delay(snapshotAgeMs);
      note('killed');
      await redis.rollback();
      note('started old');
    },
  },
];

/** The results of one case. */
export interface Outage {
  readonly timeline: TimelineChart;
  readonly figures: readonly Figure[];
}

/** Each way to fail, one after another, on one stack of three regions. */
export async function measureOutages(
  stack: Stack,
  client: BenchClient,
  say: Say,
): Promise<readonly Outage[]> {
  const outages: Outage[] = [];
  for (const [number, one] of cases.entries()) {
    say(`Outages: ${one.region} ${one.name} …`);
    const outage = await measureOutage(stack, client, one, number);
    for (const line of drawOutage(outage.timeline)) say(line);
    outages.push(outage);
  }
  return outages;
}

async function measureOutage(
  stack: Stack,
  client: BenchClient,
  one: Case,
  number: number,
): Promise<Outage> {
  const region = stack.regions.find(({ place }) => place.id === one.region);
  if (region === undefined) throw new Error(`there is no region ${one.region}`);
  const since = (await client.members(0)).at(-1)?.sequence ?? 0;
  const ledger = new Ledger(`outage:${number}`);
  const load = new BenchLoad(
    client,
    writesPerSecond,
    (write) => ledger.bodyOf(write),
    (write, attempted) => ledger.ended(write, attempted),
  );
  let isOver = false;
  const readers = stack.regions.flatMap(({ place }) =>
    Array.from({ length: readersPerRegion }, () =>
      ledger.readUntil(client, place.id, () => isOver),
    ),
  );
  const marks: Mark[] = [];
  await delay(calmBeforeMs);
  await one.fail(region, (what) => marks.push({ what, atMs: nowMs() }));
  const changes = await returned(client, one.region, since);
  await delay(calmAfterMs);
  const toMs = nowMs();
  await load.stop();
  isOver = true;
  await Promise.all(readers);
  await client.settled();
  const memberMarks = changes.map(({ event, atMs }) => ({ what: event, atMs }));
  const timeline: TimelineChart = {
    title: `${one.region} ${one.name}`,
    fromMs: load.startedAtMs,
    toMs,
    perSecond: writesPerSecond,
    answeredAtMs: load.answeredAtMs,
    marks: [...marks, ...memberMarks].toSorted((a, b) => a.atMs - b.atMs),
  };
  const checked = { audit: await ledger.audit(stack), comparison: await client.verify() };
  return { timeline, figures: figuresOf(timeline, load, ledger, checked) };
}

/** The changes of the region up to its return; without the return if it does not vote again in time. */
async function returned(
  client: BenchClient,
  region: string,
  since: number,
): Promise<readonly BenchMemberChange[]> {
  const deadline = nowMs() + returnPatienceMs;
  for (;;) {
    const changes = (await client.members(since)).filter((change) => change.region === region);
    const isBack = changes.some(({ event }) => event === 'returned');
    if (isBack || nowMs() > deadline) return changes;
    await delay(100);
  }
}

function figuresOf(
  timeline: TimelineChart,
  load: BenchLoad,
  ledger: Ledger,
  { audit, comparison }: { readonly audit: Audit; readonly comparison: BenchComparison },
): readonly Figure[] {
  const count = (name: string, value: number, limit: number | null): Figure => {
    return { name: `  ${name}`, value, unit: 'count', limit };
  };
  const stop = longestStop(timeline.answeredAtMs, timeline);
  const refused = [...load.refusals.values()].reduce((sum, each) => sum + each, 0);
  const reads = [...ledger.reads.values()].reduce((sum, each) => sum + each, 0);
  return [
    { name: timeline.title, value: load.begun, unit: 'writes', limit: null },
    { name: '  longest stop of writes', value: lengthMs(stop), unit: 'ms', limit: stopMs },
    { name: '  from its start to its vote', value: absenceMs(timeline), unit: 'ms', limit: null },
    count('answered writes lost', audit.lost, 0),
    count('writes refused', refused, null),
    count('  and found in a region', audit.inVain, 0),
    count('writes with an unknown outcome', load.unknown, null),
    count('counters that do not show their writes', audit.miscounted, 0),
    count('strong reads answered', reads, null),
    count('  by a lease', ledger.reads.get('lease') ?? 0, null),
    count('  stale', ledger.staleReads, 0),
    count('strong reads not answered', ledger.readsUnanswered, null),
    count('keys that verify finds to differ', comparison.differing, 0),
    count('keys that it could not compare', comparison.undecided, 0),
  ];
}

/** From the time at which the region could answer to the time at which it votes. NaN if it never does. */
function absenceMs({ marks }: TimelineChart): number {
  const back = marks.find(({ what }) => what === 'returned');
  const start = marks.findLast(({ what }) => /^(?:started|connected)/.test(what));
  return back === undefined || start === undefined ? Number.NaN : back.atMs - start.atMs;
}
