/** Evicts and resets the coordinator's Durable Object at each phase of a write, in wrangler's test harness. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTestHarness } from 'wrangler';
import { type Gateway, startGateway } from '../../local/gateway/gateway.ts';
import { placesFor } from '../../local/gateway/round-trips.ts';
import { type LocalRegion, redisKind, startRegion } from '../../local/stack/regions.ts';
import { connectTo } from '../support/redis.ts';
import { changeState, readLocks } from '../support/region-state.ts';
import { commitsOf, type Picks, preparesOf } from './rounds.ts';
import { patience, type StackResponse } from './writes.ts';

const token = 'a-token-for-writing-in-this-test-alone';
const readToken = 'a-token-for-reading-in-this-test-alone';
const harness = createTestHarness();
const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-eviction-'));

interface Region {
  readonly redis: LocalRegion;
  readonly gateway: Gateway;
  readonly client: Redis;
}

let regions: readonly Region[] = [];

beforeAll(async () => {
  const places = placesFor(3);
  regions = await Promise.all(
    places.map(async (place) => {
      const redis = await startRegion(place, stateDirectory, redisKind());
      const gateway = await startGateway({ redisPort: redis.port, token, roundTripMs: 0 });
      return { redis, gateway, client: connectTo(redis.port) };
    }),
  );
  const configured = places.map(({ id, location }, index) => ({
    ...{ id, location: [...location] },
    url: regions[index]?.gateway.url ?? '',
  }));
  const tokens = [
    { token, scope: 'write' },
    { token: readToken, scope: 'read' },
  ];
  await harness.update({
    workers: [
      {
        configPath: 'wrangler.toml',
        vars: { LOCKSTEP_REGIONS: JSON.stringify(configured) },
        secrets: {
          LOCKSTEP_REGION_TOKENS: JSON.stringify(
            Object.fromEntries(places.map(({ id }) => [id, token])),
          ),
          LOCKSTEP_TOKENS: JSON.stringify(tokens),
        },
      },
    ],
  });
  await harness.listen();
});

afterEach(() => heal());

afterAll(async () => {
  for (const { client } of regions) client.disconnect();
  await harness.close();
  await Promise.all(regions.map(({ gateway }) => gateway.close()));
  await Promise.all(regions.map(({ redis }) => redis.stop()));
  rmSync(stateDirectory, { recursive: true });
});

function everyRegion<Value>(value: Value): readonly Value[] {
  return regions.map(() => value);
}

function everywhere(key: string): Promise<readonly (string | null)[]> {
  return Promise.all(regions.map(({ client }) => client.get(key)));
}

function locks(): Promise<readonly number[]> {
  return Promise.all(regions.map(async ({ client }) => (await readLocks(client)).size));
}

async function send(path: string, body?: unknown, key?: string): Promise<[number, StackResponse]> {
  const response = await harness.fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const state: StackResponse = JSON.parse(await response.text());
  return [response.status, state];
}

async function incarnation(): Promise<number> {
  const [, state] = await send('/v1/regions');
  return state.coordinators?.[0]?.incarnation ?? 0;
}

/** Makes every matching request of some regions hang; resolves when each of them has got one. */
function hang(some: readonly Region[], executed: boolean, matches: Picks): Promise<unknown> {
  const faults = some.map(({ gateway }) =>
    gateway.faults.add({ fault: { kind: 'hang', executed }, matches }),
  );
  return Promise.all(faults.map(({ hit }) => hit));
}

/**
 * Resets the object during its work, without ending the process: a region claims to know a later incarnation, so the
 * instance that calls it must be stale, and ends itself.
 */
async function reset(): Promise<void> {
  const before = await incarnation();
  const last = regions.at(-1);
  if (last !== undefined) await changeState(last.client, { incarnation: before + 1 });
  const trapped = send('/v1/writes', { ops: [['SET', 'trap', '1']] });
  await expect.poll(incarnation, patience).toBe(before + 1);
  heal();
  // The edge retries it, and the next instance carries it out.
  expect(await trapped).toMatchObject([200, { results: ['OK'] }]);
}

function heal(): void {
  for (const { gateway } of regions) gateway.faults.clear();
}

/** This test comes first: after reads, the coordinator renews leases, and the object is not idle. */
describe('an eviction of the idle object', () => {
  it('changes nothing but the incarnation: a repeated write gets its first response', async () => {
    const key = 'evicted';
    const body = { ops: [['INCR', key]], ack: 'confirmed' };
    const first = await send('/v1/writes', body, key);
    const before = await incarnation();
    await harness.getWorker().evictDurableObject('Coordinator', { name: 'shard-0' });
    const again = await send('/v1/writes', body, key);
    expect(again).toEqual([200, { ...first[1], replayed: true }]);
    expect(await incarnation()).toBe(before + 1);
    expect(await everywhere(key)).toEqual(everyRegion('1'));
  });
});

describe('a reset of the object between prepare and decision', () => {
  it('lets the next instance carry out the write once, and its client gets the real outcome', async () => {
    const key = 'reset:prepared';
    const held = hang(regions, true, preparesOf(key));
    const lost = send('/v1/writes', { ops: [['INCR', key]], timeoutMs: 30_000 }, key);
    await held;
    expect(await locks()).toEqual(everyRegion(1));
    await reset();
    expect(await lost).toMatchObject([200, { results: [1], replayed: false }]);
    await expect.poll(locks, patience).toEqual(everyRegion(0));
    expect(await everywhere(key)).toEqual(everyRegion('1'));
    const retry = await send('/v1/writes', { ops: [['INCR', key]], ack: 'confirmed' }, key);
    expect(retry).toMatchObject([200, { outcome: 'confirmed', results: [1], replayed: true }]);
    expect(await everywhere(key)).toEqual(everyRegion('1'));
  });
});

describe('a reset of the object between decision and commit', () => {
  it('brings the acknowledged write to a region that has not received it', async () => {
    const key = 'reset:decided';
    const held = hang(regions.slice(0, 1), false, commitsOf(key));
    const [status] = await send('/v1/writes', { ops: [['SET', key, 'v']] }, key);
    expect(status).toBe(200);
    await held;
    expect(await regions[0]?.client.get(key)).toBeNull();
    await reset();
    const read = { reads: [['GET', key]], consistency: 'strong', region: placesFor(1)[0]?.id };
    expect(await send('/v1/reads', read)).toMatchObject([200, { results: ['v'] }]);
    await expect.poll(locks, patience).toEqual(everyRegion(0));
    expect(await everywhere(key)).toEqual(everyRegion('v'));
  });
});
