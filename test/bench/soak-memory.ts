/** `npm run bench -- memory`: the memory of workerd over minutes of writes and reads at half of saturation. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../local/gateway/round-trips.ts';
import { redisKind } from '../../local/stack/regions.ts';
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
  readonly bytes: number;
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
    const workers = [groupOf(stateDirectory, 'worker')];
    const ms = minutes * 60_000;
    const sampler = new Sampler(workers, ms / parts / samplesPerPart, say);
    const result = await runOpenLoop({ ...loop, perSecond: perSecond / 2, ms });
    const samples = sampler.stop();
    return reportOf(options, samples, { ...result, rate: perSecond / 2 });
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

class Sampler {
  private readonly samples: Sample[] = [];
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(groups: readonly number[], everyMs: number, say: (line: string) => void) {
    const startedAt = performance.now();
    this.timer = setInterval(() => {
      const sample = { atMs: performance.now() - startedAt, bytes: residentBytesOf(groups) };
      this.samples.push(sample);
      const isNews = this.samples.length % samplesPerPart === 0;
      if (isNews) say(`  ${(sample.atMs / 60_000).toFixed(1)} min: ${megabytes(sample.bytes)} MB`);
    }, everyMs);
  }

  stop(): readonly Sample[] {
    clearInterval(this.timer);
    return this.samples;
  }
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
  const meanOf = (part: number) => {
    const inside = samples.filter(
      ({ atMs }) => atMs >= (ms / parts) * (part - 1) && atMs < (ms / parts) * part,
    );
    return inside.reduce((sum, { bytes }) => sum + bytes, 0) / inside.length;
  };
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
    { name: 'operations per second', value: rate, unit: 'count', limit: null },
    { name: '  that failed', value: failed, unit: 'count', limit: 0 },
  ];
  const points = samples.map(({ atMs, bytes }) => [atMs / 60_000, bytes / 1_000_000] as const);
  const axes = { title: 'Memory of workerd', x: 'minutes', y: 'MB' };
  return {
    title: 'Memory',
    setting: `${regions} regions, round trips: ${roundTrips}; ${minutes} minutes at half of saturation, of five operations four SETs of new keys and one strong GET.`,
    tables: [],
    figures,
    pictures: [
      {
        name: 'memory',
        alt: 'Resident memory of workerd over time',
        svg: lineChart(axes, [{ name: 'resident', points }]),
      },
    ],
    note: failure === null ? null : `The first operation that failed: ${failure}`,
  };
}
