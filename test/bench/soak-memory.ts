/** `npm run bench -- memory`: the memory of workerd over minutes of writes and reads at half of saturation. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../local/gateway/round-trips.ts';
import { redisKind } from '../../local/stack/regions.ts';
import { Inspector } from './inspector.ts';
import type { Figure } from './measure.ts';
import { runOpenLoop } from './open-loop.ts';
import { startPeers } from './peers/systems.ts';
import type { PeerOperation } from './peers/worker/contract.ts';
import { lineChart } from './plot.ts';
import { groupOf, residentBytesOf } from './process-use.ts';
import type { PartReport } from './report.ts';
import { findSaturation } from './saturation.ts';
import { randomFrom } from './zipfian.ts';

/** The size of the measurement. */
export interface MemoryOptions {
  readonly regions: number;
  readonly roundTrips: RoundTrips;
  readonly minutes: number;
  readonly say: (line: string) => void;
}

const firstRate = 100;
const rateMs = 4_000;
const samplesPerPart = 12;
/** A tenth of ten minutes is a minute. */
const parts = 10;
/** The goal: memory in the last part, of that in the second. */
const growthMost = 1.1;

interface Sample {
  readonly atMs: number;
  /** Resident, of the whole process. */
  readonly bytes: number;
  /** In use in V8's heap, with garbage that is not collected yet. */
  readonly heapBytes: number;
}

/** Sends SETs of distinct keys, one in five operations a strong GET, and samples the memory all the time. */
export async function measureMemory(options: MemoryOptions): Promise<PartReport> {
  const { regions, roundTrips, minutes, say } = options;
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-memory-'));
  const peers = await startPeers({
    ...{ stateDirectory, regions, roundTrips, say },
    redis: redisKind(),
    withOthers: false,
    etcd: null,
    withInspector: true,
  });
  try {
    const [ours] = peers.systems;
    if (ours === undefined) throw new Error('there is no system');
    const random = randomFrom(11);
    const settled = () => peers.client.settled();
    let made = 0;
    const next = (): PeerOperation => {
      made += 1;
      const key = `memory:${made}`;
      if (made % 5 === 0) return { kind: 'read', key: `memory:${made - 1}` };
      return { kind: 'set', key, value: 'x'.repeat(100) };
    };
    const isRead = ({ kind }: PeerOperation) => kind === 'read';
    const loop = { port: ours.port, carry: ours.carry, next, isRead, random, ms: rateMs };
    const { perSecond } = await findSaturation({ ...loop, perSecond: firstRate }, settled, say);
    // Saturation has filled queues and caches of the process.
    await peers.stack.restartWorker();
    const { inspectorUrl } = peers.stack;
    if (inspectorUrl === null) throw new Error('the Worker has no inspector');
    const inspector = await Inspector.connect(inspectorUrl, 'worker worker');
    const workers = [groupOf(stateDirectory, 'worker')];
    const ms = minutes * 60_000;
    const sampler = new Sampler({ workers, inspector, everyMs: ms / parts / samplesPerPart, say });
    const result = await runOpenLoop({ ...loop, perSecond: perSecond / 2, ms });
    const samples = sampler.stop();
    inspector.close();
    return reportOf(options, samples, { ...result, rate: perSecond / 2 });
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

interface Sampling {
  /** Process groups. */
  readonly workers: readonly number[];
  readonly inspector: Inspector;
  readonly everyMs: number;
  readonly say: (line: string) => void;
}

class Sampler {
  private readonly samples: Sample[] = [];
  private readonly timer: ReturnType<typeof setInterval>;

  constructor({ workers, inspector, everyMs, say }: Sampling) {
    const startedAt = performance.now();
    const sampleNow = async () => {
      const atMs = performance.now() - startedAt;
      const bytes = residentBytesOf(workers);
      this.samples.push({ atMs, bytes, heapBytes: await inspector.heapBytes() });
      if (this.samples.length % samplesPerPart !== 0) return;
      say(`  ${(atMs / 60_000).toFixed(1)} min: ${megabytes(bytes)} MB`);
    };
    this.timer = setInterval(() => void sampleNow(), everyMs);
  }

  stop(): readonly Sample[] {
    clearInterval(this.timer);
    return this.samples;
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1_000_000);
}

function reportOf(
  { regions, roundTrips, minutes }: MemoryOptions,
  samples: readonly Sample[],
  {
    rate,
    failed,
    failure,
  }: { readonly rate: number; readonly failed: number; readonly failure: string | null },
): PartReport {
  const ms = minutes * 60_000;
  const inside = (part: number) =>
    samples.filter(({ atMs }) => atMs >= (ms / parts) * (part - 1) && atMs < (ms / parts) * part);
  const meanOf = (part: number) => mean(inside(part).map(({ bytes }) => bytes));
  // The least of several samples is the nearest to a full collection.
  const leastHeapOf = (part: number) => Math.min(...inside(part).map(({ heapBytes }) => heapBytes));
  const second = meanOf(2);
  const last = meanOf(parts);
  const span = minutes === parts ? 'minute' : `${(minutes * 60) / parts} s`;
  const figures: readonly Figure[] = [
    {
      name: `memory of workerd in the last ${span}, of the second ${span}`,
      value: last / second,
      unit: 'ratio',
      limit: growthMost,
    },
    { name: '  in the second', value: second / 1_000_000, unit: 'MB', limit: null },
    { name: '  in the last', value: last / 1_000_000, unit: 'MB', limit: null },
    {
      name: `least heap of V8 in use, in the last ${span}`,
      value: leastHeapOf(parts) / 1_000_000,
      unit: 'MB',
      limit: null,
    },
    { name: '  in the second', value: leastHeapOf(2) / 1_000_000, unit: 'MB', limit: null },
    { name: 'operations per second', value: rate, unit: 'count', limit: null },
    { name: '  that failed', value: failed, unit: 'count', limit: 0 },
  ];
  const line = (name: string, of: (sample: Sample) => number) => ({
    name,
    points: samples.map((sample) => [sample.atMs / 60_000, of(sample) / 1_000_000] as const),
  });
  const axes = { title: 'Memory of workerd', x: 'minutes', y: 'MB' };
  return {
    title: 'Memory',
    setting: `${regions} regions, round trips: ${roundTrips}; ${minutes} minutes at half of saturation, of five operations four SETs of new keys and one strong GET.`,
    tables: [],
    figures,
    pictures: [
      {
        name: 'memory',
        alt: 'Resident memory of workerd, and the heap of V8 in use, over time',
        svg: lineChart(axes, [
          line('resident', ({ bytes }) => bytes),
          line('heap of V8 in use', ({ heapBytes }) => heapBytes),
        ]),
      },
    ],
    note: failure === null ? null : `The first operation that failed: ${failure}`,
  };
}
