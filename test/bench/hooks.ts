/** Measures the cost of callbacks per write, and the feed and confirmations over kills of the Worker. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../local/stack/free-port.ts';
import { redisKind } from '../../local/stack/regions.ts';
import { startStack } from '../../local/stack/stack.ts';
import { Receiver } from '../courier/receiver.ts';
import { type SoakReport, soakCallbacks } from '../support/stack/callbacks.ts';
import { measureBacklog } from './backlog.ts';
import { BenchClient } from './client.ts';
import { measureCrowd, measureFeedLatency, measureResumption } from './followers.ts';
import { type Figure, median, timed } from './measure.ts';

/** The Worker's variables for calls of a benchmark's receivers. */
export const hookVariables = { LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true' } as const;

/** Series of the kinds alternate, so that a slow moment of the machine affects all of them. */
const rounds = 6;
const writesPerSeries = 8;
const deadEndpoints = 100;
/** A host has up to twenty webhooks. */
const deadHosts = 6;

const soakWrites = 10_000;
const soakKills = 5;

type Kind = 'plain' | 'callback' | 'dead';

/** The cost of a callback, and of dead endpoints, per write. `client` makes one write after another. */
export async function measureCallbackCost(
  client: BenchClient,
  say: (line: string) => void,
): Promise<readonly Figure[]> {
  const receiver = await Receiver.start();
  const silent = await Promise.all(Array.from({ length: deadHosts / 2 }, () => Receiver.start()));
  for (const one of silent) one.answer = () => {};
  const samples: Record<Kind, number[]> = { plain: [], callback: [], dead: [] };
  const callback = { url: receiver.url, secret: receiver.secret };
  try {
    for (let round = 0; round < rounds; round += 1) {
      const write = (kind: Kind) => measureSeries(client, samples[kind], kind, round, callback);
      await write('plain');
      await write('callback');
      const dead = await subscribeDead(client, silent);
      await write('dead');
      for (const path of dead) await client.unsubscribe(path);
      say(`  series ${round + 1} of ${rounds}`);
    }
  } finally {
    await receiver.stop();
    await Promise.all(silent.map((one) => one.stop()));
  }
  const plainMs = median(samples.plain);
  const ratio = (kind: Kind) => median(samples[kind]) / plainMs;
  return [
    { name: 'write with no callback, p50', value: plainMs, unit: 'ms', limit: null },
    { name: '  with a callback, of it', value: ratio('callback'), unit: 'ratio', limit: 1.02 },
    {
      name: `  with ${deadEndpoints} dead endpoints, of it`,
      value: ratio('dead'),
      unit: 'ratio',
      limit: 1.05,
    },
  ];
}

async function measureSeries(
  client: BenchClient,
  samples: number[],
  kind: Kind,
  round: number,
  callback: { readonly url: string; readonly secret: string },
): Promise<void> {
  await client.settled();
  for (let write = 0; write < writesPerSeries; write += 1) {
    const ops = [['SET', `hooks:${kind}:${round}:${write}`, 'x'.repeat(32)]];
    const body = kind === 'callback' ? { ops, callback } : { ops };
    samples.push(await timed(() => client.write(body)));
  }
}

/** Half of them refuse the connection; the other half accept it and do not answer. */
async function subscribeDead(
  client: BenchClient,
  silent: readonly Receiver[],
): Promise<readonly string[]> {
  const closedPorts = await Promise.all(silent.map(() => freePort()));
  const hosts = [
    ...closedPorts.map((port) => `http://127.0.0.1:${port}`),
    ...silent.map(({ url }) => url),
  ];
  const paths: string[] = [];
  for (let number = 0; number < deadEndpoints; number += 1) {
    paths.push(await client.subscribe(`${hosts[number % hosts.length]}/${number}`));
  }
  return paths;
}

/** Everything about the feed, and the confirmations over kills: on a stack without round trips. */
export async function measureHooks(say: (line: string) => void): Promise<readonly Figure[]> {
  return [...(await measureWaiting(say)), ...(await measureFeed(say))];
}

/** The cost of events that wait at one endpoint. */
export function measureWaiting(say: (line: string) => void): Promise<readonly Figure[]> {
  say('Waiting events …');
  return measureBacklog(hookVariables, say);
}

async function measureFeed(say: (line: string) => void): Promise<readonly Figure[]> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-hooks-'));
  const stack = await startStack({
    stateDirectory,
    regions: 3,
    roundTrips: 'none',
    redis: redisKind(),
    port: 0,
    fresh: true,
    variables: hookVariables,
  });
  try {
    const bench = { stack, client: new BenchClient(stack), stateDirectory };
    await bench.client.write({ ops: [['SET', 'warm', 'up']], ack: 'confirmed' });
    const figures: Figure[] = [];
    say('The feed: delay …');
    figures.push(...(await measureFeedLatency(bench)));
    say('The feed: disconnections …');
    figures.push(...(await measureResumption(bench)));
    say('The feed: many followers …');
    figures.push(...(await measureCrowd(bench)));
    say(`${soakWrites} writes with a callback, ${soakKills} times kill -9 …`);
    const options = { writes: soakWrites, clients: 32, kills: soakKills, patienceMs: 120_000 };
    figures.push(...figuresOf(await soakCallbacks(stack, options)));
    return figures;
  } finally {
    await stack.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

function figuresOf(report: SoakReport): readonly Figure[] {
  const count = (name: string, value: number, limit: number | null): Figure => ({
    name: `  ${name}`,
    value,
    unit: 'count',
    limit,
  });
  return [
    { ...count('', report.writes, null), name: `writes with a callback, ${report.kills} kill -9` },
    count('committed', report.committed, null),
    count('aborted', report.aborted, null),
    count('answers that a kill took', report.brokenConnections, null),
    count('deliveries', report.received, null),
    count('deliveries that came again', report.repeated, null),
    count('committed writes without a confirmation', report.unconfirmed, 0),
    count('other writes with one', report.confirmedInVain, 0),
    count('aborted writes without an event', report.unaborted, 0),
    count('events under a second id or with a second text', report.unstable, 0),
    count('wrong signatures', report.badSignatures, 0),
    count('sequences out of order', report.outOfOrder, 0),
  ];
}
