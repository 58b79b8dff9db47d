/** Latencies over the round trips between regions, of the farthest one; and a hot key, of a Redlock loop. */
import { perSecond, runClosedLoop } from '../closed-loop.ts';
import { HttpConnection } from '../http-connection.ts';
import { type Figure, median, percentile, timed } from '../measure.ts';
import { runOpenLoop } from '../open-loop.ts';
import type { PeerStacks, PeerSystem } from '../peers/systems.ts';
import type { PeerOperation } from '../peers/worker/contract.ts';
import { findSaturation } from '../saturation.ts';
import { randomFrom } from '../zipfian.ts';
import { figureOfRuns } from './runs.ts';

const aloneMost = 1.04;
const halfMost = 1.15;
const halfP99Most = 1.5;
const hotKeyLeast = 50;

const requestsPerRun = 12;
const firstRate = 40;
const hotClients = 64;
const value = 'x'.repeat(32);

type Say = (line: string) => void;
interface Size {
  readonly runs: number;
  readonly ms: number;
  readonly say: Say;
}

/** Measures writes alone, and at half of the rate at which Lockstep saturates. */
export async function measureDistance(
  peers: PeerStacks,
  { runs, ms, say }: Size,
): Promise<readonly Figure[]> {
  const [ours] = peers.systems;
  if (ours === undefined) throw new Error('there is no system');
  let made = 0;
  const next = (): PeerOperation => {
    made += 1;
    return { kind: 'set', key: `far:${made}`, value };
  };
  const { port, carry } = ours;
  const loop = { port, carry, next, isRead: () => false, random: randomFrom(3), ms };
  const settled = () => peers.client.settled();
  const { perSecond: most } = await findSaturation({ ...loop, perSecond: firstRate }, settled, say);
  const ratios = { alone: [], half: [], halfP99: [] } as Record<string, number[]>;
  const farthest: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await settled();
    const farthestMs = await farthestOf(peers);
    farthest.push(farthestMs);
    const connection = new HttpConnection(port);
    const alone: number[] = [];
    for (let request = 0; request < requestsPerRun; request += 1) {
      alone.push(await timed(() => carry(connection, next())));
    }
    connection.close();
    const half = await runOpenLoop({ ...loop, perSecond: most / 2, ms: ms * 2 });
    ratios.alone?.push(median(alone) / farthestMs);
    ratios.half?.push(median(half.writesMs) / farthestMs);
    ratios.halfP99?.push(percentile(half.writesMs, 99) / farthestMs);
    say(`  run ${run + 1} of ${runs}`);
  }
  const half = `at half of saturation (${Math.round(most / 2)}/s)`;
  return [
    figureOfRuns('the farthest round trip, p50', 'ms', farthest),
    figureOfRuns(
      'p50 of a write of one client, of the farthest round trip',
      'ratio',
      ratios.alone ?? [],
      {
        most: aloneMost,
      },
    ),
    figureOfRuns(`  ${half}`, 'ratio', ratios.half ?? [], { most: halfMost }),
    figureOfRuns(
      `p99 of a write ${half}, of the farthest round trip`,
      'ratio',
      ratios.halfP99 ?? [],
      {
        most: halfP99Most,
      },
    ),
  ];
}

/** The p50 of a plain GET through the gateway of the farthest region, ms. */
async function farthestOf({ stack }: PeerStacks): Promise<number> {
  const [region] = stack.regions.toSorted((a, b) => b.place.awsRttMs - a.place.awsRttMs);
  if (region === undefined) throw new Error('there is no region');
  const connection = new HttpConnection(region.gateway.port);
  const samples: number[] = [];
  for (let request = 0; request < requestsPerRun; request += 1) {
    const get = () => connection.post('/', '["GET","far:none"]', region.gateway.token);
    samples.push(await timed(get));
  }
  connection.close();
  return median(samples);
}

/** Increments of one key by many clients, of a loop that takes a Redlock for each. */
export async function measureHotKey(
  { client, systems }: PeerStacks,
  { runs, ms, say }: Size,
): Promise<readonly Figure[]> {
  const ours = systems.find(({ id }) => id === 'ours');
  const redlock = systems.find(({ id }) => id === 'redlock');
  if (ours === undefined || redlock === undefined) throw new Error('a system is missing');
  const rates = new Map<PeerSystem, number[]>([ours, redlock].map((system) => [system, []]));
  for (let run = 0; run < runs; run += 1) {
    for (const system of run % 2 === 0 ? [ours, redlock] : [redlock, ours]) {
      await client.settled();
      const result = await runClosedLoop({
        ...{ port: system.port, clients: hotClients, ms, carry: system.carry },
        next: (): PeerOperation => ({ kind: 'increment', key: `${system.id}:hot` }),
        isRead: () => false,
      });
      rates.get(system)?.push(perSecond(result));
    }
    say(`  run ${run + 1} of ${runs}`);
  }
  const [own = [], other = []] = [rates.get(ours), rates.get(redlock)];
  const unit = 'writes/s';
  return [
    figureOfRuns(
      `increments of one key by ${hotClients} clients, of a loop with a Redlock`,
      'ratio',
      own.map((rate, run) => rate / (other[run] ?? Number.NaN)),
      { least: hotKeyLeast },
    ),
    figureOfRuns('  by Lockstep', unit, own),
    figureOfRuns('  by the loop', unit, other),
  ];
}
