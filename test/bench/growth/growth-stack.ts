/** Lockstep with any number of regions, without round trips: `npm start` knows five places, and the bench needs more. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { type Gateway, Meter, startGateway } from '../../../local/gateway/gateway.ts';
import { bundleWorker } from '../../../local/stack/bundle.ts';
import { freePort } from '../../../local/stack/free-port.ts';
import { type LocalRegion, redisKind, startRegion } from '../../../local/stack/regions.ts';
import { startWorker } from '../../../local/stack/worker.ts';
import { connectTo } from '../../support/redis.ts';
import type { LockstepTarget } from '../lockstep-operations.ts';
import { groupOf } from '../process-use.ts';

/** A running stack. */
export interface GrowthStack {
  /** Of its Worker. */
  readonly port: number;
  readonly target: LockstepTarget;
  /** The process groups of the Worker, and of the Redis of each region. */
  readonly worker: number;
  readonly servers: readonly number[];
  readonly redises: readonly Redis[];
  /** The counts of all gateways. */
  readonly total: Meter;
  /** Resolves when every region votes and has acknowledged every decision. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

interface Described {
  readonly regions: readonly { readonly unacknowledged: number; readonly state: string }[];
}

/** Starts it, empty. */
export async function startGrowthStack(regionCount: number): Promise<GrowthStack> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-growth-'));
  const token = randomBytes(16).toString('hex');
  const total = new Meter();
  const places = Array.from({ length: regionCount }, (_, at) => {
    return { id: `region-${at + 1}`, location: [0, at * 20] as const, awsRttMs: 0 };
  });
  const regions: LocalRegion[] = [];
  const gateways: Gateway[] = [];
  for (const place of places) {
    const region = await startRegion(place, stateDirectory, redisKind());
    const gateway = await startGateway({ redisPort: region.port, token, roundTripMs: 0, total });
    regions.push(region);
    gateways.push(gateway);
  }
  const tokens = { write: `write-${token}`, admin: `admin-${token}` };
  const worker = await startWorker({
    stateDirectory,
    bundle: await bundleWorker(stateDirectory),
    port: await freePort(),
    regions: places.map(({ id, location }, at) => {
      return { id, location, token, url: gateways[at]?.url ?? '' };
    }),
    tokens: [
      { token: tokens.write, scope: 'write' },
      // The configuration asks for a token of each scope.
      { token: `read-${token}`, scope: 'read' },
      { token: tokens.admin, scope: 'admin' },
    ],
  });
  const redises = regions.map(({ port }) => connectTo(port));
  return {
    port: Number(new URL(worker.url).port),
    target: { token: tokens.write, region: places[0]?.id ?? '' },
    worker: groupOf(stateDirectory, 'worker'),
    servers: places.map(({ id }) => groupOf(stateDirectory, `region-${id}`)),
    redises,
    total,
    settled: () => settledAt(worker.url, tokens.admin),
    stop: async () => {
      await worker.stop();
      for (const redis of redises) redis.disconnect();
      await Promise.all(gateways.map((gateway) => gateway.close()));
      await Promise.all(regions.map((region) => region.stop()));
      rmSync(stateDirectory, { recursive: true });
    },
  };
}

async function settledAt(url: string, token: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${url}/v1/regions`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const { regions }: Described = JSON.parse(await response.text());
    const isSettled = regions.every(
      ({ unacknowledged, state }) => unacknowledged === 0 && state === 'voter',
    );
    if (isSettled) return;
    await delay(20);
  }
}
