/** Measures a pipeline of the Upstash dialect against a single command. */
import type { BenchClient } from './client.ts';
import { type Figure, median, timed } from './measure.ts';

/** Series of the two kinds alternate, so that a slow moment of the machine affects both. */
const rounds = 8;
const requestsPerSeries = 5;
const commandsPerPipeline = 100;

/** A pipeline of the Upstash dialect against one of its commands alone, from one client near the coordinator. */
export async function measurePipeline(
  client: BenchClient,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  say('Pipelines …');
  const value = 'x'.repeat(32);
  const alone: number[] = [];
  const together: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await client.settled();
    for (let request = 0; request < requestsPerSeries; request += 1) {
      const key = `pipeline:${round}:${request}`;
      alone.push(await timed(() => client.command(['SET', key, value])));
    }
    await client.settled();
    for (let request = 0; request < requestsPerSeries; request += 1) {
      const commands = Array.from({ length: commandsPerPipeline }, (_, number) => {
        return ['SET', `pipeline:${round}:${request}:${number}`, value];
      });
      together.push(await timed(() => client.pipeline(commands)));
    }
  }
  const aloneMs = median(alone);
  const togetherMs = median(together);
  return [
    { name: 'one SET of the Upstash dialect, p50', value: aloneMs, unit: 'ms', limit: null },
    {
      name: `a pipeline of ${commandsPerPipeline} SETs, p50`,
      value: togetherMs,
      unit: 'ms',
      limit: null,
    },
    { name: '  of the one SET', value: togetherMs / aloneMs, unit: 'ratio', limit: 1.15 },
  ];
}
