/** `npm run bench -- ycsb`: Lockstep under an open loop, at rising rates until saturation. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../local/gateway/round-trips.ts';
import { redisKind } from '../../local/stack/regions.ts';
import { percentile } from './measure.ts';
import { type OpenResult, runOpenLoop } from './open-loop.ts';
import { type PeerStacks, type PeerSystem, startPeers } from './peers/systems.ts';
import { operationsOf, type PeerLoad, records, workloads } from './peers/workloads.ts';
import { lineChart, type PlotLine } from './plot.ts';
import { type PartReport, type ReportTable, shown } from './report.ts';
import { findSaturation, type RateStep } from './saturation.ts';
import { randomFrom } from './zipfian.ts';

/** The size of the measurement. */
export interface YcsbOptions {
  readonly regions: number;
  readonly roundTrips: RoundTrips;
  /** Of each rate, in ms; the one at half of saturation takes three times that. */
  readonly ms: number;
  readonly only: readonly PeerLoad[];
  readonly say: (line: string) => void;
}

/** A rate that Lockstep bears on a slow machine, too; operations per second. */
const firstRate = 40;

interface Measured {
  readonly workload: PeerLoad;
  readonly steps: readonly RateStep[];
  readonly saturation: number;
  readonly half: OpenResult;
}

/** Measures each load on a stack of its own, so that none starts with the queue of another. */
export async function measureYcsb(options: YcsbOptions): Promise<PartReport> {
  const measured: Measured[] = [];
  for (const workload of options.only) measured.push(await measureOne(options, workload));
  const { regions, roundTrips, ms } = options;
  const distance =
    roundTrips === 'aws' ? 'the round trips between AWS regions' : `round trips: ${roundTrips}`;
  return {
    title: 'At rising rates',
    setting: `${regions} regions, ${distance}; ${records.toLocaleString('en-US')} records of 1 KB, zipfian; operations arrive at random at a rate, ${ms / 1_000} s per rate, until Lockstep no longer keeps up.`,
    tables: [summaryOf(measured), ...measured.map(stepsTable)],
    figures: [],
    pictures: [
      pictureOf('reads', measured, ({ readsMs }) => readsMs),
      pictureOf('writes', measured, ({ writesMs }) => writesMs),
    ],
    note: 'Latencies in ms, from the time at which an operation should begin.',
  };
}

async function measureOne(options: YcsbOptions, workload: PeerLoad): Promise<Measured> {
  const { regions, roundTrips, ms, say } = options;
  say(`${workloads[workload]} …`);
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-ycsb-'));
  const peers = await startPeers({
    ...{ stateDirectory, regions, roundTrips, say },
    redis: redisKind(),
    withOthers: false,
    etcd: null,
  });
  try {
    const loop = { ...loopOf(peers, workload), ms };
    const settled = () => peers.client.settled();
    // The first operations find cold code and no lease.
    await runOpenLoop({ ...loop, perSecond: firstRate });
    const { steps, perSecond } = await findSaturation(
      { ...loop, perSecond: firstRate },
      settled,
      say,
    );
    await settled();
    const half = await runOpenLoop({ ...loop, perSecond: perSecond / 2, ms: ms * 3 });
    return { workload, steps, saturation: perSecond, half };
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

/** An open loop of this load on Lockstep. */
function loopOf({ systems }: PeerStacks, workload: PeerLoad) {
  const [ours]: readonly (PeerSystem | undefined)[] = systems;
  if (ours === undefined) throw new Error('there is no system');
  const random = randomFrom(7);
  return {
    port: ours.port,
    carry: ours.carry,
    next: operationsOf(workload, ours.id, random),
    isRead: ({ kind }: { readonly kind: string }) => kind === 'read',
    random,
  };
}

function latencies({ readsMs, writesMs }: OpenResult): readonly string[] {
  return [readsMs, writesMs].flatMap((samples) =>
    [percentile(samples, 50), percentile(samples, 99)].map(shown),
  );
}

const latencyColumns = ['read p50', 'read p99', 'write p50', 'write p99'];

function summaryOf(measured: readonly Measured[]): ReportTable {
  return {
    title: 'Saturation, and latencies at half of it',
    columns: ['load', 'saturation per second', ...latencyColumns, 'failed'],
    rows: measured.map(({ workload, saturation, half }) => [
      workloads[workload],
      shown(saturation),
      ...latencies(half),
      shown(half.failed),
    ]),
  };
}

function stepsTable({ workload, steps }: Measured): ReportTable {
  return {
    title: `${workloads[workload]}, by rate`,
    columns: ['offered per second', 'achieved', ...latencyColumns, 'failed'],
    rows: steps.map(({ result }) => [
      shown(result.offered),
      shown(result.achieved),
      ...latencies(result),
      shown(result.failed),
    ]),
  };
}

function pictureOf(
  name: string,
  measured: readonly Measured[],
  samplesOf: (result: OpenResult) => readonly number[],
) {
  const lines = measured.flatMap(({ workload, steps }): readonly PlotLine[] => {
    const bearable = steps.filter(({ result }) => samplesOf(result).length > 0);
    if (bearable.length === 0) return [];
    const line = (percent: number): PlotLine => ({
      name: `${workload.toUpperCase()}, p${percent}`,
      points: bearable.map(({ result }) => [
        result.offered,
        percentile(samplesOf(result), percent),
      ]),
    });
    return [line(50), line(99)];
  });
  const axes = { title: `YCSB ${name}`, x: 'operations offered per second', y: 'ms' };
  const svg = lineChart({ ...axes, isLogarithmicX: true, isLogarithmicY: true }, lines);
  return { name: `ycsb-${name}`, alt: `Latency of YCSB ${name} by the offered rate`, svg };
}
