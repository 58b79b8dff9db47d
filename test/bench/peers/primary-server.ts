/** A Redis primary in the first region, with a replica in each other one, over links with the regions' round trips. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import {
  type Coordinates,
  type RoundTrips,
  roundTripMsOf,
} from '../../../local/gateway/round-trips.ts';
import { type LocalRegion, type RedisKind, startRegion } from '../../../local/stack/regions.ts';
import { connectTo } from '../../support/redis.ts';
import { groupOf } from '../process-use.ts';
import { type DelayingProxy, startDelayingProxy } from './delaying-proxy.ts';

/** The time after which WAIT gives up, ms: more than any replica needs here. */
const waitMs = 10_000;
const startDeadlineMs = 30_000;

/** A running primary with its replicas. */
export interface PrimaryServers {
  /** The bridge: the Upstash REST protocol for single commands, with WAIT after each write. */
  readonly url: string;
  /** The process groups of all servers. */
  readonly groups: readonly number[];
  /** The primary first. */
  readonly redises: readonly Redis[];
  stop(): Promise<void>;
}

/** Starts them, empty. */
export async function startPrimary(
  stateDirectory: string,
  places: readonly Coordinates[],
  roundTrips: RoundTrips,
  kind: RedisKind,
): Promise<PrimaryServers> {
  const directory = join(stateDirectory, 'primary');
  const regions: LocalRegion[] = [];
  const proxies: DelayingProxy[] = [];
  for (const place of places) {
    const region = await startRegion(place, directory, kind);
    regions.push(region);
    const [primary] = regions;
    if (primary === undefined || primary === region) continue;
    const roundTripMs = roundTripMsOf(place, roundTrips);
    const targetPort = primary.port;
    const proxy = await startDelayingProxy({ targetPort, roundTripMsOf: () => roundTripMs });
    proxies.push(proxy);
    const replica = connectTo(region.port);
    await replica.replicaof('127.0.0.1', String(proxy.port));
    replica.disconnect();
  }
  const redises = regions.map(({ port }) => connectTo(port));
  const [primary] = redises;
  if (primary === undefined) throw new Error('there is no region');
  await linked(primary, places.length - 1);
  const bridge = await startBridge(primary, places.length - 1);
  return {
    url: bridge.url,
    groups: places.map(({ id }) => groupOf(directory, `region-${id}`)),
    redises,
    stop: async () => {
      bridge.close();
      for (const redis of redises) redis.disconnect();
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await Promise.all(regions.map((region) => region.stop()));
    },
  };
}

/** Resolves once all replicas have a copy. */
async function linked(primary: Redis, replicas: number): Promise<void> {
  const deadline = performance.now() + startDeadlineMs;
  for (;;) {
    const info = await primary.info('replication');
    if ([...info.matchAll(/^slave\d+:.*state=online/gm)].length === replicas) return;
    if (performance.now() > deadline) throw new Error('the replicas did not connect');
    await delay(50);
  }
}

/**
 * An HTTP server in front of the primary, at the cost of a gateway. WAIT concerns the writes of its own connection and
 * blocks it, so each write that is under way has a connection of its own, which later ones use again.
 */
async function startBridge(
  primary: Redis,
  replicas: number,
): Promise<{ readonly url: string; close(): void }> {
  const all: Redis[] = [];
  const idle: Redis[] = [];
  const write = async (words: readonly string[]): Promise<unknown> => {
    const redis = idle.pop() ?? primary.duplicate();
    if (!all.includes(redis)) all.push(redis);
    const [name = '', ...rest] = words;
    try {
      const sent = redis.call(name, ...rest);
      const reached = await redis.call('WAIT', String(replicas), String(waitMs));
      if (Number(reached) < replicas) throw new Error(`only ${reached} replicas have it`);
      return await sent;
    } finally {
      idle.push(redis);
    }
  };
  const read = ([name = '', ...rest]: readonly string[]) => primary.call(name, ...rest);
  const server = createServer({ noDelay: true }, (request, response) => {
    void answer(request, response, request.url === '/write' ? write : read);
  });
  server.keepAliveTimeout = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
      for (const redis of all) redis.disconnect();
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  carryOut: (words: readonly string[]) => Promise<unknown>,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const words: readonly (string | number)[] = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  const body = await carryOut(words.map(String)).then(
    (result) => JSON.stringify({ result }),
    (error: unknown) => JSON.stringify({ error: String(error) }),
  );
  const head = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  response.writeHead(200, head);
  response.end(body);
}
