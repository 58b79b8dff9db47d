/** Measures strong reads against local ones. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../local/stack/stack.ts';
import type { BenchClient } from './client.ts';
import { type Figure, median, percentile, timed } from './measure.ts';

const readPairs = 500;
/** The first strong reads of a region get it a lease, and are not counted. */
const leasePatienceMs = 10_000;

/** A strong read under a lease against a local one, both through the Worker, in the nearest region. */
export async function measureReads(
  stack: Stack,
  client: BenchClient,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  say('Reads …');
  const region = stack.regions[0]?.place.id ?? '';
  await client.write({ ops: [['SET', 'read', 'value']], ack: 'confirmed' });
  const deadline = performance.now() + leasePatienceMs;
  while ((await client.snapshot(['read'], region))?.via !== 'lease') {
    if (performance.now() > deadline) throw new Error(`${region} gets no lease`);
    await delay(20);
  }
  const strong: number[] = [];
  const local: number[] = [];
  let leaseless = 0;
  for (let pair = 0; pair < readPairs; pair += 1) {
    strong.push(
      await timed(async () => {
        const answer = await client.snapshot(['read'], region, 'strong');
        if (answer?.via !== 'lease') leaseless += 1;
      }),
    );
    local.push(await timed(() => client.snapshot(['read'], region, 'local')));
  }
  const plain = (name: string, value: number): Figure => ({ name, value, unit: 'ms', limit: null });
  const p95 = percentile(strong, 95);
  const localP95 = percentile(local, 95);
  return [
    plain('local read, p50', median(local)),
    plain('  p95', localP95),
    plain('strong read of an unlocked key, p50', median(strong)),
    {
      name: '  of the local read',
      value: median(strong) / median(local),
      unit: 'ratio',
      limit: 1.2,
    },
    plain('  p95', p95),
    { name: '  of the local read', value: p95 / localP95, unit: 'ratio', limit: null },
    { name: '  reads that went without a lease', value: leaseless, unit: 'count', limit: 0 },
  ];
}
