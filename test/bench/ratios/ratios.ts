/** `npm run bench -- ratios`: Lockstep's costs as ratios within one run, each with its goal. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../../local/gateway/round-trips.ts';
import { redisKind } from '../../../local/stack/regions.ts';
import type { Figure } from '../measure.ts';
import { type PeerStacks, startPeers } from '../peers/systems.ts';
import type { PartReport, ReportTable } from '../report.ts';
import { measureDistance, measureHotKey } from './far.ts';
import { measureNear } from './near.ts';
import { measureColdWrite, measureRegionCost } from './region-cost.ts';

/** The size of the measurement. */
export interface RatiosOptions {
  readonly regions: number;
  /** Of each load, in ms. */
  readonly ms: number;
  /** Of each figure, at least seven for a median that counts. */
  readonly runs: number;
  /** The names of the groups of figures: near, region, cold, distance, hot. */
  readonly only: readonly string[];
  readonly say: (line: string) => void;
}

/** Measures all groups, or those that are named. */
export async function measureRatios(options: RatiosOptions): Promise<PartReport> {
  const { regions, ms, runs, only, say } = options;
  const figures: Figure[] = [];
  const tables: ReportTable[] = [];
  const isWanted = (...names: readonly string[]) => names.some((name) => only.includes(name));
  if (isWanted('near', 'region', 'cold')) {
    await withPeers(options, 'none', async (peers) => {
      if (isWanted('near')) {
        say('Rates and CPU …');
        const near = await measureNear(peers, options);
        figures.push(...near.figures);
        tables.push(near.table);
      }
      if (isWanted('region')) {
        say('CPU of a region …');
        figures.push(...(await measureRegionCost(peers, options)));
      }
      // The last one, since it starts the Worker again.
      if (isWanted('cold')) {
        say('Cold writes …');
        figures.push(...(await measureColdWrite(peers, options)));
      }
    });
  }
  if (isWanted('distance', 'hot')) {
    await withPeers(options, 'aws', async (peers) => {
      if (isWanted('distance')) {
        say('Latency over distance …');
        figures.push(...(await measureDistance(peers, options)));
      }
      if (isWanted('hot')) {
        say('A hot key …');
        figures.push(...(await measureHotKey(peers, options)));
      }
    });
  }
  return {
    title: 'Goals',
    setting: `${regions} regions, without round trips for rates, CPU and bytes, and with those between AWS regions for latencies and the hot key; SETs of 32 bytes. Medians of ${runs} runs that alternate both sides, ${ms / 1_000} s each.`,
    tables,
    figures,
    pictures: [],
    note: 'If single runs lie on both sides of a bound, its verdict is open. A bare Worker is one that sends commands to all gateways at once, or one GET to the nearest, and checks nothing.',
  };
}

async function withPeers(
  { regions, say }: RatiosOptions,
  roundTrips: RoundTrips,
  work: (peers: PeerStacks) => Promise<void>,
): Promise<void> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-ratios-'));
  const peers = await startPeers({
    ...{ stateDirectory, regions, roundTrips, say },
    redis: redisKind(),
    withOthers: false,
    etcd: null,
  });
  try {
    await work(peers);
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}
