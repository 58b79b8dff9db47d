/** The parts of the benchmark that end in a report with tables and pictures, each with its options. */
import { parseRoundTrips } from '../../local/gateway/round-trips.ts';
import type { PartReport } from './report.ts';

/** The options that the parts take, as texts of the command line. */
export interface ReportOptions {
  readonly regions?: string | undefined;
  readonly rtt?: string | undefined;
  readonly clients?: string | undefined;
  readonly seconds?: string | undefined;
  readonly minutes?: string | undefined;
  readonly runs?: string | undefined;
  readonly only?: string | undefined;
  readonly most?: string | undefined;
}

/** Runs a part. */
type MakeReport = (options: ReportOptions, say: (line: string) => void) => Promise<PartReport>;

function numberOf(text: string | undefined, usual: number): number {
  if (text === undefined) return usual;
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${text} is not a number above 0`);
  return value;
}

/** The parts by name. */
export const reportParts: Readonly<Record<string, MakeReport>> = {
  peers: async (options, say) => {
    const { measurePeers } = await import('./peers/peers.ts');
    const { isWorkload, workloadNames } = await import('./peers/workloads.ts');
    const only = options.only?.split(',') ?? workloadNames;
    return measurePeers({
      regions: numberOf(options.regions, 5),
      roundTrips: parseRoundTrips(options.rtt ?? 'aws'),
      clients: numberOf(options.clients, 64),
      ms: numberOf(options.seconds, 4) * 1_000,
      runs: numberOf(options.runs, 5),
      only: only.filter(isWorkload),
      say,
    });
  },
  growth: async (options, say) => {
    const { growthNames, measureGrowth } = await import('./growth/growth.ts');
    return measureGrowth({
      ms: numberOf(options.seconds, 4) * 1_000,
      only: options.only?.split(',') ?? growthNames,
      most: numberOf(options.most, 1_000_000),
      say,
    });
  },
  ratios: async (options, say) => {
    const { measureRatios } = await import('./ratios/ratios.ts');
    return measureRatios({
      regions: numberOf(options.regions, 3),
      ms: numberOf(options.seconds, 4) * 1_000,
      runs: numberOf(options.runs, 7),
      only: (options.only ?? 'near,region,cold,distance,hot').split(','),
      say,
    });
  },
  ycsb: async (options, say) => {
    const { measureYcsb } = await import('./ycsb.ts');
    const { isWorkload } = await import('./peers/workloads.ts');
    return measureYcsb({
      regions: numberOf(options.regions, 5),
      roundTrips: parseRoundTrips(options.rtt ?? 'aws'),
      ms: numberOf(options.seconds, 6) * 1_000,
      only: (options.only ?? 'a,b,c,f').split(',').filter(isWorkload),
      say,
    });
  },
  profile: async (options, say) => {
    const { measureProfile } = await import('./profile.ts');
    return measureProfile({
      regions: numberOf(options.regions, 3),
      ms: numberOf(options.seconds, 8) * 1_000,
      say,
    });
  },
  memory: async (options, say) => {
    const { measureMemory } = await import('./soak-memory.ts');
    return measureMemory({
      regions: numberOf(options.regions, 3),
      roundTrips: parseRoundTrips(options.rtt ?? 'none'),
      minutes: numberOf(options.minutes, 10),
      say,
    });
  },
};
