import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoundTrips } from '../../local/gateway/round-trips.ts';
import { redisKind } from '../../local/stack/regions.ts';
import type { Stack } from '../../local/stack/stack.ts';
import { startStack } from '../../local/stack/stack.ts';
import { plotOutages } from './chart.ts';
import { BenchClient } from './client.ts';
import { measureCopying } from './copying.ts';
import { measureHold } from './hold.ts';
import type { Figure } from './measure.ts';
import { measureOutages } from './outages.ts';
import { measureReads } from './reads.ts';

/** Regions that fail, lose data and come back, on stacks of three. `npm run bench -- members` runs this alone. */

const plotFile = join('.lockstep', 'outages.svg');

type Say = (line: string) => void;

/** The parts, by the names under which each can be run alone. */
const parts = {
  outages: async (say: Say) =>
    withStack('aws', async (stack, client) => {
      const outages = await measureOutages(stack, client, say);
      mkdirSync('.lockstep', { recursive: true });
      writeFileSync(plotFile, plotOutages(outages.map(({ timeline }) => timeline)));
      say(`A plot of these is in ${plotFile}.`);
      return outages.flatMap(({ figures }) => figures);
    }),
  copying: async (say: Say) =>
    withStack('none', (stack, client) => measureCopying(stack, client, say)),
  hold: async (say: Say) => withStack('aws', (stack, client) => measureHold(stack, client, say)),
  reads: async (say: Say) => withStack('none', (stack, client) => measureReads(stack, client, say)),
} as const;

/** Everything about members, or the one part that is named. */
export async function measureMembers(say: Say, only?: string): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const [name, measure] of Object.entries(parts)) {
    if (only === undefined || only === name) figures.push(...(await measure(say)));
  }
  return figures;
}

async function withStack<Result>(
  roundTrips: RoundTrips,
  work: (stack: Stack, client: BenchClient) => Promise<Result>,
): Promise<Result> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-members-'));
  const stack = await startStack({
    stateDirectory,
    regions: 3,
    roundTrips,
    redis: redisKind(),
    port: 0,
    fresh: true,
  });
  try {
    const client = new BenchClient(stack);
    await client.write({ ops: [['SET', 'warm', 'up']], ack: 'confirmed' });
    return await work(stack, client);
  } finally {
    await stack.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}
