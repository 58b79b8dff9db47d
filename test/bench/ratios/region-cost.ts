/** The CPU of a region for a write and a read that come alone, and the bytes of a cold write. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { HttpConnection } from '../http-connection.ts';
import type { Figure } from '../measure.ts';
import type { PeerStacks, PeerSystem } from '../peers/systems.ts';
import type { PeerOperation } from '../peers/worker/contract.ts';
import { figureOfRuns } from './runs.ts';

const writeMostUs = 65;
const readMostUs = 10;
const coldMostBytes = 10_000;

const writesPerRun = 100;
const readsPerRun = 500;
/** After this pause, ms, the commit has arrived and nothing is under way. */
const pauseMs = 15;

interface Size {
  readonly runs: number;
  readonly say: (line: string) => void;
}

interface Used {
  /** By the statistics of commands: of scripts and transactions, as a whole. */
  readonly scriptUs: number;
  /** By the server's CPU, with its network and its log. */
  readonly cpuUs: number;
}

/** Measures writes and reads with nothing else under way, in the first region. */
export async function measureRegionCost(
  { client, systems }: PeerStacks,
  { runs, say }: Size,
): Promise<readonly Figure[]> {
  const [ours] = systems;
  const redis = ours?.redises[0];
  if (ours === undefined || redis === undefined) throw new Error('there is no region');
  const writes: Used[] = [];
  const reads: Used[] = [];
  for (let run = 0; run < runs; run += 1) {
    await client.settled();
    const connection = new HttpConnection(ours.port);
    const send = (operation: PeerOperation) => ours.carry(connection, operation);
    const key = (number: number) => `cost:${run}:${number}`;
    writes.push(
      await usedBy(redis, writesPerRun, async (number) => {
        await send({ kind: 'set', key: key(number), value: 'x'.repeat(32) });
        await delay(pauseMs);
      }),
    );
    // The first reads get the region its lease.
    for (let read = 0; read < 50; read += 1) await send({ kind: 'read', key: key(0) });
    reads.push(
      await usedBy(redis, readsPerRun, async (number) => {
        await send({ kind: 'read', key: key(number % writesPerRun) });
      }),
    );
    connection.close();
    say(`  run ${run + 1} of ${runs}`);
  }
  const scripts = (used: readonly Used[]) => used.map(({ scriptUs }) => scriptUs);
  const cpu = (used: readonly Used[]) => used.map(({ cpuUs }) => cpuUs);
  const most = (value: number) => ({ most: value });
  return [
    figureOfRuns(
      'Redis: scripts of a lone SET, prepare and commit',
      'µs',
      scripts(writes),
      most(writeMostUs),
    ),
    figureOfRuns('  CPU of the server, with network and log', 'µs', cpu(writes)),
    figureOfRuns('Redis: script of a strong GET', 'µs', scripts(reads), most(readMostUs)),
    figureOfRuns('  CPU of the server, with network', 'µs', cpu(reads)),
  ];
}

async function usedBy(
  redis: Redis,
  count: number,
  work: (number: number) => Promise<void>,
): Promise<Used> {
  await redis.config('RESETSTAT');
  const before = await cpuOf(redis);
  for (let number = 0; number < count; number += 1) await work(number);
  const cpuUs = ((await cpuOf(redis)) - before) / count;
  const stats = await redis.info('commandstats');
  // Of commands inside of a script, the script's own time has theirs.
  const whole = /^cmdstat_(?:eval(?:sha)?(?:_ro)?|fcall(?:_ro)?|exec):calls=\d+,usec=(\d+)/gm;
  const scriptUs = [...stats.matchAll(whole)].reduce((sum, [, usec]) => sum + Number(usec), 0);
  return { scriptUs: scriptUs / count, cpuUs };
}

/** The CPU time of the server so far, µs. */
async function cpuOf(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  const seconds = [...info.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)];
  return seconds.reduce((sum, [, value]) => sum + Number(value), 0) * 1_000_000;
}

/** The first write of a new Worker: with regions that know the scripts, and with ones that do not. */
export async function measureColdWrite(
  peers: PeerStacks,
  { runs, say }: Size,
): Promise<readonly Figure[]> {
  const [ours] = peers.systems;
  if (ours === undefined) throw new Error('there is no system');
  const known: number[] = [];
  const unknown: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    known.push(await coldBytes(peers, ours));
    await Promise.all(ours.redises.map((redis) => redis.script('FLUSH')));
    unknown.push(await coldBytes(peers, ours));
    say(`  run ${run + 1} of ${runs}`);
  }
  return [
    figureOfRuns('first write of a new Worker: bytes sent to all regions', 'bytes', known, {
      most: coldMostBytes,
    }),
    figureOfRuns('  if the regions do not know the scripts', 'bytes', unknown),
  ];
}

async function coldBytes({ stack, client }: PeerStacks, ours: PeerSystem): Promise<number> {
  await client.settled();
  await stack.restartWorker();
  stack.total.reset();
  const connection = new HttpConnection(ours.port);
  await ours.carry(connection, { kind: 'set', key: 'cold', value: 'x'.repeat(32) });
  connection.close();
  await client.settled();
  return stack.total.bytesIn;
}
