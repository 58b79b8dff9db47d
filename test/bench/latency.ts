/** Measures the latency of writes against the round trip to the farthest region and a bare parallel SET. */
import type { Stack } from '../../local/stack/stack.ts';
import { limits } from '../../shared/limits.ts';
import type { BenchClient } from './client.ts';
import type { Figure } from './measure.ts';
import { median, timed } from './measure.ts';

/** Series of the kinds alternate, so that a slow moment of the machine affects all of them. */
const rounds = 5;
const requestsPerSeries = 6;

type WriteKind = 'write' | 'sameKey' | 'checked';
type Kind = WriteKind | 'farthest' | 'bare' | 'twoPhase';

/** One client near the coordinator, one request after another. */
export interface Latency {
  /** The round trip to the farthest region in this run: one plain command through its gateway, p50, in ms. */
  readonly farthestMs: number;
  readonly figures: readonly Figure[];
}

/** Measures writes, and the operations that they are compared with. */
export async function measureLatency(
  stack: Stack,
  client: BenchClient,
  say: (line: string) => void,
): Promise<Latency> {
  const samples: Record<Kind, number[]> = {
    farthest: [],
    bare: [],
    write: [],
    sameKey: [],
    checked: [],
    twoPhase: [],
  };
  let inFlightMaximum = 0;
  const value = 'x'.repeat(32);
  const work: Record<Kind, (key: string) => Promise<unknown>> = {
    farthest: (key) => client.farthestGet(key),
    bare: (key) => client.bareSet(key, value),
    write: (key) => client.write({ ops: [['SET', key, value]] }),
    sameKey: () => client.write({ ops: [['SET', 'latency:same', value]] }),
    checked: (key) => client.write({ ops: [['SET', key, value]], checks: [{ key, absent: true }] }),
    twoPhase: async (key) => {
      await client.bareSet(key, value);
      await client.bareSet(key, value);
    },
  };
  const kinds: readonly Kind[] = ['farthest', 'write', 'bare', 'sameKey', 'checked', 'twoPhase'];
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of kinds) {
      await client.settled();
      stack.total.reset();
      for (let request = 0; request < requestsPerSeries; request += 1) {
        const key = `latency:${kind}:${round}:${request}`;
        samples[kind].push(await timed(() => work[kind](key)));
      }
      const isWrite = kind === 'write' || kind === 'sameKey' || kind === 'checked';
      if (isWrite) inFlightMaximum = Math.max(inFlightMaximum, stack.total.inFlightMaximum);
    }
    say(`  series ${round + 1} of ${rounds}`);
  }
  const figures = [...figuresOf(samples, addedMs(stack)), inFlightFigure(inFlightMaximum)];
  return { farthestMs: median(samples.farthest), figures };
}

/** The round trip that the gateway of the farthest region adds, ms. */
export function addedMs(stack: Stack): number {
  return Math.max(...stack.regions.map(({ place }) => place.awsRttMs));
}

function figuresOf(samples: Record<Kind, number[]>, nominalMs: number): readonly Figure[] {
  const farthestMs = median(samples.farthest);
  const bareMs = median(samples.bare);
  const against = (name: string, kind: Kind, limit: number | null): readonly Figure[] => {
    const value = median(samples[kind]);
    return [
      { name: `${name}, p50`, value, unit: 'ms', limit: null },
      { name: '  of the farthest round trip', value: value / farthestMs, unit: 'ratio', limit },
      { name: '  of a bare parallel SET', value: value / bareMs, unit: 'ratio', limit },
      { name: `  of ${nominalMs} ms`, value: value / nominalMs, unit: 'ratio', limit },
    ];
  };
  return [
    { name: 'farthest round trip, p50', value: farthestMs, unit: 'ms', limit: null },
    { name: 'bare parallel SET in all regions, p50', value: bareMs, unit: 'ms', limit: null },
    ...against('write', 'write', 1.1),
    ...against('write, back to back on one key', 'sameKey', 1.1),
    ...against('write with a check', 'checked', 1.1),
    ...against('textbook two-phase commit', 'twoPhase', null),
  ];
}

function inFlightFigure(value: number): Figure {
  const name = 'requests in flight at once, one client';
  return { name, value, unit: 'count', limit: limits.connections };
}
