import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../local/stack/stack.ts';
import { Random } from '../simulation/random.ts';
import {
  type Follow,
  followByEvents,
  followBySocket,
  followInPieces,
  newReader,
  openSocket,
} from '../support/stack/followers.ts';
import type { BenchClient } from './client.ts';
import { type Figure, median, percentile } from './measure.ts';

/** The change feed, on a stack without round trips, so that only the feed is measured. */

const latencyWrites = 200;
const crowd = 1_000;
const crowdCommitsPerSecond = 100;
const crowdSeconds = 20;
/** Changes that have not reached every client within this time are lost. */
const crowdPatienceMs = 60_000;
const disconnections = 100;
/** A client acknowledges after this number of changes. */
const acknowledgedEvery = 500;

export interface FeedBench {
  readonly stack: Stack;
  readonly client: BenchClient;
  readonly stateDirectory: string;
}

/**
 * From a decision to a connected client, one write after another. There is one clock: everything runs on this
 * machine.
 */
export async function measureFeedLatency({ stack, client }: FeedBench): Promise<readonly Figure[]> {
  const newest = await newestOf(stack);
  const reader = newReader(newest);
  const delaysMs: number[] = [];
  let wake = () => {};
  const following = followBySocket(stack, reader, () => {
    const now = performance.timeOrigin + performance.now();
    const { at } = reader.changes.at(-1) ?? { at: '' };
    delaysMs.push(now - Date.parse(at));
    wake();
    return delaysMs.length === latencyWrites;
  });
  for (let write = 0; write < latencyWrites; write += 1) {
    const heard = new Promise<void>((resolve) => {
      wake = resolve;
    });
    await client.write({ ops: [['INCR', 'feed:latency']] });
    await heard;
  }
  await following;
  return [
    {
      name: 'decision to a client of the feed, p50',
      value: median(delaysMs),
      unit: 'ms',
      limit: null,
    },
    { name: '  p99', value: percentile(delaysMs, 99), unit: 'ms', limit: 50 },
  ];
}

/** Clients that lose their connection a hundred times, while others write. */
export async function measureResumption(bench: FeedBench): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  const ways: readonly (readonly [string, Follow])[] = [
    ['WebSocket', followBySocket],
    ['server-sent events', followByEvents],
  ];
  for (const [name, follow] of ways) {
    const since = await newestOf(bench.stack);
    const reader = newReader(since);
    const writing = new Writing(bench.client, 200);
    const random = new Random(since);
    await followInPieces(bench.stack, reader, follow, disconnections, () => random.next());
    await writing.stop();
    const newest = await newestOf(bench.stack);
    if (reader.next < newest) await follow(bench.stack, reader, () => reader.next >= newest);
    const wrong = reader.changes.filter(({ sequence }, index) => sequence !== since + index + 1);
    const missing = Math.abs(newest - since - reader.changes.length);
    figures.push({
      name: `changes lost, doubled or out of order over ${disconnections} disconnections, ${name}`,
      value: wrong.length + missing,
      unit: 'count',
      limit: 0,
    });
  }
  return figures;
}

/** Many followers of many commits, and the Worker's memory for them. */
export async function measureCrowd(bench: FeedBench): Promise<readonly Figure[]> {
  const since = await newestOf(bench.stack);
  const beforeBytes = residentBytes(bench);
  const members = await gather(bench.stack, since);
  const gatheredBytes = residentBytes(bench);
  const writing = new Writing(bench.client, crowdCommitsPerSecond);
  const underLoadBytes: number[] = [];
  for (let second = 0; second < crowdSeconds; second += 1) {
    await delay(1_000);
    underLoadBytes.push(residentBytes(bench));
  }
  await writing.stop();
  const newest = await newestOf(bench.stack);
  const deadline = performance.now() + crowdPatienceMs;
  const isBehind = () => members.some(({ next }) => next < newest);
  while (performance.now() < deadline && isBehind()) await delay(50);
  const lost = members.reduce((sum, member) => sum + Math.abs(newest - since - member.seen), 0);
  const disorder = members.reduce((sum, { outOfOrder }) => sum + outOfOrder, 0);
  const delaysMs = members.flatMap((member) => member.delaysMs);
  for (const { socket } of members) socket.close();
  const highestBytes = Math.max(...underLoadBytes);
  const halfwayBytes = Math.max(...underLoadBytes.slice(0, crowdSeconds / 2));
  return [
    { name: `${crowd} followers: commits`, value: newest - since, unit: 'count', limit: null },
    { name: '  per second', value: (newest - since) / crowdSeconds, unit: 'writes/s', limit: null },
    { name: '  changes lost or doubled', value: lost, unit: 'count', limit: 0 },
    { name: '  changes out of order', value: disorder, unit: 'count', limit: 0 },
    { name: '  decision to client, p50', value: median(delaysMs), unit: 'ms', limit: null },
    { name: '  decision to client, p99', value: percentile(delaysMs, 99), unit: 'ms', limit: null },
    { name: '  memory of the Worker before', value: beforeBytes / 1e6, unit: 'MB', limit: null },
    { name: '  with all connected', value: gatheredBytes / 1e6, unit: 'MB', limit: null },
    { name: '  at most', value: highestBytes / 1e6, unit: 'MB', limit: null },
    {
      name: '  of the most half-way',
      value: highestBytes / halfwayBytes,
      unit: 'ratio',
      limit: 1.25,
    },
  ];
}

/** One of many followers: it checks its changes and keeps none of them. */
interface Member {
  readonly socket: WebSocket;
  readonly delaysMs: number[];
  next: number;
  seen: number;
  outOfOrder: number;
}

async function gather(stack: Stack, since: number): Promise<readonly Member[]> {
  const members: Member[] = [];
  while (members.length < crowd) {
    const some = Array.from({ length: 50 }, () => openSocket(stack, newReader(since)));
    await Promise.all(
      some.map((socket) => new Promise((open) => socket.addEventListener('open', open))),
    );
    members.push(...some.map((socket) => watch(socket, since)));
  }
  return members;
}

function watch(socket: WebSocket, since: number): Member {
  const member: Member = { socket, delaysMs: [], next: since, seen: 0, outOfOrder: 0 };
  let expected = since + 1;
  let acknowledged = since;
  socket.addEventListener('message', ({ data }) => {
    const { changes = [], next }: DeliveredEvent = JSON.parse(String(data));
    for (const { sequence } of changes) {
      if (sequence !== expected) member.outOfOrder += 1;
      expected = sequence + 1;
    }
    member.seen += changes.length;
    member.next = next;
    const [first] = changes;
    if (first !== undefined && first.sequence % 10 === 0) {
      member.delaysMs.push(performance.timeOrigin + performance.now() - Date.parse(first.at));
    }
    if (next - acknowledged < acknowledgedEvery) return;
    acknowledged = next;
    socket.send(JSON.stringify({ ack: next }));
  });
  return member;
}

interface DeliveredEvent {
  readonly changes?: readonly { readonly sequence: number; readonly at: string }[];
  readonly next: number;
}

/** Writes at a steady rate until it is stopped. */
class Writing {
  private readonly client: BenchClient;
  private readonly pending = new Set<Promise<void>>();
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly startedAt = performance.now();
  private begun = 0;

  constructor(client: BenchClient, perSecond: number) {
    this.client = client;
    // A late timer catches up.
    this.timer = setInterval(() => {
      const due = ((performance.now() - this.startedAt) * perSecond) / 1_000;
      while (this.begun < due) this.begin();
    }, 5);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.pending);
  }

  private begin(): void {
    this.begun += 1;
    const write = this.client.write({
      ops: [['SET', `feed:${this.begun % 1_000}`, 'x'.repeat(32)]],
    });
    this.pending.add(write);
    void write.finally(() => this.pending.delete(write));
  }
}

async function newestOf({ url, tokens }: Stack): Promise<number> {
  const headers = { authorization: `Bearer ${tokens.read}` };
  const response = await fetch(`${url}/v1/changes?limit=1`, { headers });
  const page: { readonly newest: number } = JSON.parse(await response.text());
  return page.newest;
}

/** The resident memory of the Worker's process. */
function residentBytes({ stateDirectory }: FeedBench): number {
  const pid = readFileSync(join(stateDirectory, 'pids', 'worker'), 'utf8');
  const [, kilobytes = '0'] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1_024;
}
