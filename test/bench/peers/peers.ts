/** `npm run bench -- peers`: Lockstep beside the systems that people would use instead, in one run. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../../local/gateway/round-trips.ts';
import { redisKind } from '../../../local/stack/regions.ts';
import { doneBy, type LoadResult, perSecond, runClosedLoop } from '../closed-loop.ts';
import { countCommands } from '../commands-run.ts';
import { type Figure, median, percentile } from '../measure.ts';
import { barChart } from '../plot.ts';
import { cpuMsOf } from '../process-use.ts';
import { type PartReport, type ReportTable, shown } from '../report.ts';
import { randomFrom } from '../zipfian.ts';
import { etcdVersion } from './etcd-server.ts';
import { type PeerStacks, type PeerSystem, startPeers } from './systems.ts';
import { operationsOf, type PeerLoad, recordKey, records, workloads } from './workloads.ts';

/** The size of the comparison. */
export interface PeersOptions {
  readonly regions: number;
  readonly roundTrips: RoundTrips;
  readonly clients: number;
  /** Of each load, in ms. */
  readonly ms: number;
  /** How often each load runs on each system, in turns. */
  readonly runs: number;
  readonly only: readonly PeerLoad[];
  readonly say: (line: string) => void;
}

/** One load on one system. */
interface Run {
  readonly result: LoadResult;
  /** HTTP requests to all gateways, or NaN. */
  readonly requests: number;
  /** Redis commands in all servers, or NaN. */
  readonly commands: number;
  /** Rows of the coordinator's log, or NaN. */
  readonly rows: number;
  readonly workerMs: number;
  readonly serverMs: number;
}

/** Measures all loads on all systems; they take turns, so that a slow moment of the machine affects all of them. */
export async function measurePeers(options: PeersOptions): Promise<PartReport> {
  const { say, only, runs } = options;
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-peers-'));
  const etcd = etcdVersion(say);
  if (etcd === null) say('There is no etcd, and apt-get did not install it: it is not measured.');
  const { regions, roundTrips } = options;
  const peers = await startPeers({
    ...{ stateDirectory, regions, roundTrips, etcd, say },
    redis: redisKind(),
    withOthers: true,
  });
  const measured = new Map<string, Run[]>();
  try {
    for (const system of peers.systems)
      await runOne(peers, system, 'a', { ...options, ms: 1_000 }, 0);
    for (let run = 1; run <= runs; run += 1) {
      for (const workload of only) {
        for (const system of peers.systems) {
          const one = await runOne(peers, system, workload, options, run);
          const cell = `${workload} ${system.id}`;
          measured.set(cell, [...(measured.get(cell) ?? []), one]);
          say(`  ${run}/${runs} ${workload} ${system.name}: ${shown(perSecond(one.result))}/s`);
        }
      }
    }
    const report = reportOf(options, peers.systems, measured, etcd);
    return { ...report, figures: await compareRegions(peers) };
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

async function runOne(
  { stack, client }: PeerStacks,
  system: PeerSystem,
  workload: PeerLoad,
  { clients, ms }: PeersOptions,
  run: number,
): Promise<Run> {
  await client.settled();
  await Promise.all(system.redises.map((redis) => redis.config('RESETSTAT')));
  stack.total.reset();
  const rowsFrom = system.rows?.() ?? Number.NaN;
  const workerFrom = cpuMsOf(system.workers);
  const serverFrom = cpuMsOf(system.servers);
  const seeds = randomFrom(run * 1_000 + Object.keys(workloads).indexOf(workload));
  const result = await runClosedLoop({
    ...{ port: system.port, clients, ms, carry: system.carry },
    next: operationsOf(workload, system.id, seeds),
    isRead: ({ kind }) => kind === 'read',
  });
  if (result.failure !== null) console.log(`  ${result.failed} failed: ${result.failure}`);
  const commands = await Promise.all(system.redises.map(countCommands));
  return {
    result,
    requests: system.usesGateways ? stack.total.requests : Number.NaN,
    commands: commands.length === 0 ? Number.NaN : commands.reduce((sum, count) => sum + count, 0),
    rows: (system.rows?.() ?? Number.NaN) - rowsFrom,
    workerMs: cpuMsOf(system.workers) - workerFrom,
    serverMs: cpuMsOf(system.servers) - serverFrom,
  };
}

/** The records that differ between regions in the end, by system. Lockstep must have none. */
async function compareRegions({ client, systems }: PeerStacks): Promise<readonly Figure[]> {
  await client.settled();
  const figures: Figure[] = [];
  for (const { id, name, redises, usesGateways } of systems) {
    if (!usesGateways) continue;
    const keys = Array.from({ length: records }, (_, number) => recordKey(id, number));
    const [first = [], ...others] = await Promise.all(redises.map((redis) => redis.mget(keys)));
    const differing = first.filter((value, at) => others.some((other) => other[at] !== value));
    const limit = id === 'ours' ? 0 : null;
    const text = `records of ${records} that differ between regions in the end, ${name}`;
    figures.push({ name: text, value: differing.length, unit: 'count', limit });
  }
  return figures;
}

const columns = [
  'system',
  'per second',
  'least–most',
  'read p50',
  'read p99',
  'write p50',
  'write p99',
  'aborts',
  'requests',
  'commands',
  'rows',
  'CPU Worker',
  'CPU servers',
];

function reportOf(
  options: PeersOptions,
  systems: readonly PeerSystem[],
  measured: ReadonlyMap<string, readonly Run[]>,
  etcd: string | null,
): PartReport {
  const { regions, roundTrips, clients, ms, runs, only } = options;
  const runsOf = (workload: PeerLoad, { id }: PeerSystem) =>
    measured.get(`${workload} ${id}`) ?? [];
  const tables = only.map(
    (workload): ReportTable => ({
      title: workloads[workload],
      columns,
      rows: systems.map((system) => [system.name, ...cellsOf(runsOf(workload, system))]),
    }),
  );
  const guarantees: ReportTable = {
    title: 'Guarantees',
    columns: ['system', 'guarantee'],
    rows: systems.map(({ name, guarantee }) => [name, guarantee]),
  };
  const pictures = only.map((workload) => {
    const title = `${workloads[workload]}, operations per second`;
    const bars = systems.map((system) => {
      const rates = runsOf(workload, system).map(({ result }) => perSecond(result));
      return { name: system.name, value: median(rates) };
    });
    return { name: `peers-${workload}`, alt: title, svg: barChart(title, bars) };
  });
  const distance =
    roundTrips === 'aws' ? 'the round trips between AWS regions' : `round trips: ${roundTrips}`;
  return {
    title: 'Beside other systems',
    setting: `${regions} regions, ${distance}; ${clients} clients near the first region, each with one operation after another; ${records.toLocaleString('en-US')} records of 1 KB, zipfian; medians of ${runs} turns of ${ms / 1_000} s.`,
    tables: [guarantees, ...tables],
    figures: [],
    pictures,
    note: `Latencies in ms, over all turns. Aborts are attempts that had to be repeated, per operation; requests (HTTP, to gateways), commands (of Redis, in all regions) and rows (of the coordinator’s log) are per operation, and so is the CPU, in µs: of the Worker, and of all databases. All clients, gateways and servers share this machine, so rates compare systems and are no capacity.${etcd === null ? ' etcd could not be installed.' : ''}`,
  };
}

function cellsOf(runs: readonly Run[]): readonly string[] {
  const rates = runs.map(({ result }) => perSecond(result));
  const reads = runs.flatMap(({ result }) => result.readsMs);
  const writes = runs.flatMap(({ result }) => result.writesMs);
  const perOperation = (of: (run: Run) => number) =>
    shown(median(runs.map((run) => of(run) / doneBy(run.result))));
  return [
    shown(median(rates)),
    `${shown(Math.min(...rates))}–${shown(Math.max(...rates))}`,
    ...[percentile(reads, 50), percentile(reads, 99)].map(shown),
    ...[percentile(writes, 50), percentile(writes, 99)].map(shown),
    perOperation(({ result }) => result.aborts),
    perOperation(({ requests }) => requests),
    perOperation(({ commands }) => commands),
    perOperation(({ rows }) => rows),
    perOperation(({ workerMs }) => workerMs * 1_000),
    perOperation(({ serverMs }) => serverMs * 1_000),
  ];
}
