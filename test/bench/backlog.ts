/** Measures the cost of events that wait at the courier of an endpoint, for writes that have nothing to do with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { redisKind } from '../../local/stack/regions.ts';
import { type Stack, startStack } from '../../local/stack/stack.ts';
import { type Answerer, Receiver } from '../courier/receiver.ts';
import { BenchClient } from './client.ts';
import { runClosedLoop } from './closed-loop.ts';
import { type Figure, median } from './measure.ts';
import { cpuMsOf, groupOf } from './process-use.ts';

const waitingEvents = 12_000;
const eventsPerPipeline = 100;

/** Series with and without waiting events alternate, so that a slow moment of the machine affects both. */
const rounds = 25;
const clients = 64;
const seriesMs = 1_000;

/** Only writes to these keys become events. */
const prefix = 'waiting:';

/** Slow enough that the events come faster, and fast enough that the endpoint does not count as slow. */
const errorDelayMs = 500;

const failsSlowly: Answerer = (response) => {
  setTimeout(() => fails(response), errorDelayMs);
};

function fails(response: Parameters<Answerer>[0]): void {
  response.statusCode = 500;
  response.end();
}

const isDead: Answerer = (response) => {
  response.destroy();
};

/** A stack with a subscription, and its receiver. */
interface Side {
  readonly stateDirectory: string;
  readonly stack: Stack;
  readonly client: BenchClient;
  readonly receiver: Receiver;
  /** The path of the subscription. */
  readonly webhook: string;
}

/** The throughput of writes with waiting events at an endpoint, of the throughput without any. */
export async function measureBacklog(
  variables: Readonly<Record<string, string>>,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-backlog-'));
  const sides: Side[] = [];
  try {
    for (const name of ['waiting', 'none']) {
      sides.push(await beginSide(join(stateDirectory, name), variables));
    }
    const [waiting, none] = sides;
    if (waiting === undefined || none === undefined) throw new Error('both sides have begun');
    await fill(waiting, prefix);
    await untilWaiting(waiting, say);
    // The other side is as warm then, and its database as full.
    await fill(none, 'not-waiting:');
    const figures: Figure[] = [];
    for (const [name, answer] of endpoints) {
      waiting.receiver.answer = answer;
      await post(waiting, `${waiting.webhook}/enable`);
      say(`  the endpoint ${name} …`);
      const { receiver } = waiting;
      const before = receiver.received.length;
      const measured = await compare(waiting, none, say);
      say(`  attempts meanwhile: ${receiver.received.length - before}`);
      figures.push(...figuresOf(name, measured));
    }
    return figures;
  } finally {
    for (const { stack, receiver } of sides) {
      await stack.stop();
      await receiver.stop();
    }
    rmSync(stateDirectory, { recursive: true });
  }
}

const endpoints: readonly (readonly [string, Answerer])[] = [
  ['does not answer', isDead],
  ['answers 500', (response) => fails(response)],
];

function figuresOf(name: string, { alone, ratios, cpuRatios }: Comparison): readonly Figure[] {
  const spreadAmong = (values: readonly number[]) =>
    [Math.min(...values), Math.max(...values)] as const;
  return [
    {
      name: `${clients} clients, no event waits`,
      ...{ value: median(alone), unit: 'writes/s', limit: null },
    },
    {
      name: `  ${waitingEvents} events wait, and their endpoint ${name}, of it`,
      ...{ value: median(ratios), unit: 'ratio', limit: null, least: 0.95 },
      spread: spreadAmong(ratios),
    },
    {
      name: '  CPU of the Worker per write, of that without waiting events',
      ...{ value: median(cpuRatios), unit: 'ratio', limit: null },
      spread: spreadAmong(cpuRatios),
    },
  ];
}

async function beginSide(
  stateDirectory: string,
  variables: Readonly<Record<string, string>>,
): Promise<Side> {
  const stack = await startStack({
    stateDirectory,
    regions: 3,
    roundTrips: 'none',
    redis: redisKind(),
    port: 0,
    fresh: true,
    variables,
  });
  const client = new BenchClient(stack);
  const receiver = await Receiver.start();
  receiver.answer = failsSlowly;
  await client.write({ ops: [['SET', 'warm', 'up']], ack: 'confirmed' });
  const webhook = await client.subscribe(receiver.url, {
    events: ['write.committed'],
    prefixes: [prefix],
  });
  return { stateDirectory, stack, client, receiver, webhook };
}

/**
 * Makes as many writes as events are to wait. A courier takes their events as fast as they come, because each attempt
 * gets a response.
 */
async function fill(side: Side, keys: string): Promise<void> {
  for (let written = 0; written < waitingEvents; written += eventsPerPipeline) {
    const commands = Array.from({ length: eventsPerPipeline }, (_, index) => {
      return ['SET', `${keys}${written + index}`, 'x'.repeat(32)];
    });
    await side.client.pipeline(commands);
  }
}

async function untilWaiting(side: Side, say: (line: string) => void): Promise<void> {
  for (;;) {
    const waiting = await countWaiting(side);
    say(`  ${waiting} events wait`);
    if (waiting >= waitingEvents) return;
    await delay(1_000);
  }
}

async function countWaiting({ stack, webhook }: Side): Promise<number> {
  let count = 0;
  let before: number | null = null;
  do {
    const query: string = before === null ? '' : `&before=${before}`;
    const response = await fetch(`${stack.url}${webhook}/deliveries?state=waiting${query}`, {
      headers: { authorization: `Bearer ${stack.tokens.read}` },
    });
    const page: { readonly deliveries: readonly unknown[]; readonly before: number | null } =
      JSON.parse(await response.text());
    count += page.deliveries.length;
    before = page.before;
  } while (before !== null);
  return count;
}

async function post({ stack }: Side, path: string): Promise<void> {
  const headers = { authorization: `Bearer ${stack.tokens.write}` };
  const response = await fetch(`${stack.url}${path}`, { method: 'POST', headers });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
}

/** The writes of a series. */
interface Series {
  readonly perSecond: number;
  readonly cpuMsPerWrite: number;
}

/** The figures of each round. */
interface Comparison {
  /** Writes per second of the side without waiting events. */
  readonly alone: readonly number[];
  /** Writes per second of the other side, of these. */
  readonly ratios: readonly number[];
  /** CPU time of the Worker per write of the other side, of that without waiting events. */
  readonly cpuRatios: readonly number[];
}

async function compare(
  waiting: Side,
  none: Side,
  say: (line: string) => void,
): Promise<Comparison> {
  const comparison = { alone: [] as number[], ratios: [] as number[], cpuRatios: [] as number[] };
  // The first round warms both up.
  for (let round = 0; round <= rounds; round += 1) {
    // The side that begins alternates, too.
    const order = round % 2 === 0 ? [none, waiting] : [waiting, none];
    const series = new Map<Side, Series>();
    for (const side of order) series.set(side, await measureSeries(side, round));
    const [without, beside] = [series.get(none), series.get(waiting)];
    if (round === 0 || without === undefined || beside === undefined) continue;
    const ratio = beside.perSecond / without.perSecond;
    comparison.alone.push(without.perSecond);
    comparison.ratios.push(ratio);
    comparison.cpuRatios.push(beside.cpuMsPerWrite / without.cpuMsPerWrite);
    const shown = [without, beside].map(({ perSecond }) => perSecond.toFixed(0)).join(' and ');
    say(`  round ${round}: ${shown} writes/s, ${ratio.toFixed(3)}`);
  }
  return comparison;
}

async function measureSeries(
  { stateDirectory, stack, client }: Side,
  round: number,
): Promise<Series> {
  await client.settled();
  const worker = [groupOf(stateDirectory, 'worker')];
  const cpuMsBefore = cpuMsOf(worker);
  let number = 0;
  const { writesMs, failed, failure, tookMs } = await runClosedLoop({
    port: Number(new URL(stack.url).port),
    clients,
    ms: seriesMs,
    next: () => {
      number += 1;
      return JSON.stringify({ ops: [['SET', `other:${round}:${number}`, 'x'.repeat(32)]] });
    },
    carry: async (connection, body) => {
      const { status } = await connection.post('/v1/writes', body, stack.tokens.write);
      if (status !== 200) throw new Error(`a write answered ${status}`);
      return 0;
    },
    isRead: () => false,
  });
  if (failed > 0) throw new Error(`${failed} writes failed: ${failure}`);
  return {
    perSecond: (writesMs.length / tookMs) * 1_000,
    cpuMsPerWrite: (cpuMsOf(worker) - cpuMsBefore) / writesMs.length,
  };
}
