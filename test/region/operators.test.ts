/** Runs the doctor and a verification against real servers. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { diagnose } from '../../functions/edge/doctor/diagnose.ts';
import { examine } from '../../functions/edge/doctor/region-checks.ts';
import { connectRegion } from '../../functions/region/client.ts';
import { compareKeys } from '../../functions/region/comparison.ts';
import { beginVerify, type VerifyScope, verifySlice } from '../../functions/region/verification.ts';
import { type Gateway, startGateway } from '../../local/gateway/gateway.ts';
import type { RegionConfiguration } from '../../shared/contracts/members.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { emptyState, writeState } from '../support/region-state.ts';
import { startEmbedded, startRedisServer, type TestServer } from './servers.ts';

const token = 'token of a test';

/** A region behind a gateway, as in a deployment. */
interface Region {
  readonly server: TestServer;
  readonly gateway: Gateway;
  readonly client: RegionClient;
}

const opened: Region[] = [];

async function open(start: () => Promise<TestServer>): Promise<Region> {
  const server = await start();
  const gateway = await startGateway({ redisPort: server.port, token, roundTripMs: 0 });
  await gateway.ready();
  const client = connectRegion({ id: 'here', url: gateway.url, token });
  opened.push({ server, gateway, client });
  return { server, gateway, client };
}

afterEach(async () => {
  for (const { server, gateway } of opened.splice(0)) {
    await gateway.close();
    await server.stop();
  }
});

function statusesOf(checks: readonly { readonly name: string; readonly status: string }[]) {
  return Object.fromEntries(checks.map(({ name, status }) => [name, status]));
}

describe('the doctor on a redis-server', () => {
  it('reports the server’s settings, and leaves nothing behind', async () => {
    const { server, client } = await open(startRedisServer);
    const probe = { client, status: null, runId: 'runId', voteDeadlineMs: 2_000, shards: [0] };
    const { checks, runId } = await examine({ ...probe, now: () => Date.now() });
    expect(statusesOf(checks)).toMatchObject({
      answers: 'ok',
      'round trip': 'ok',
      clock: 'ok',
      version: 'ok',
      role: 'ok',
      persistence: 'problem',
      eviction: 'ok',
      memory: 'ok',
      scripts: 'ok',
      EVALSHA: 'ok',
      commands: 'ok',
      copy: 'ok',
      keys: 'ok',
    });
    expect(runId).toMatch(/^[0-9a-f]{40}$/);
    expect(await server.redis.dbsize()).toBe(0);
  });

  it('reports a policy that evicts keys', async () => {
    const { server, client } = await open(startRedisServer);
    await server.redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const probe = { client, status: null, runId: 'runId', voteDeadlineMs: 2_000, shards: [0] };
    const { checks } = await examine({ ...probe, now: () => Date.now() });
    expect(statusesOf(checks)).toMatchObject({ eviction: 'problem' });
  });

  it('recognizes two regions on one database by the marker', async () => {
    const { server, gateway } = await open(startRedisServer);
    const region = (id: string): RegionConfiguration => ({
      id,
      url: gateway.url,
      token,
      location: [0, 0],
    });
    const report = await diagnose({
      configuration: { tokens: [], voteDeadlineMs: 2_000 },
      regions: [region('a'), region('b')],
      shards: [0],
      statuses: [],
      status: null,
      runId: 'runId',
      regionOf: (one) => connectRegion(one),
      now: () => Date.now(),
    });
    const databases = report.deployment.find(({ name }) => name === 'databases');
    expect(databases).toMatchObject({ status: 'problem', found: 'the same: a and b' });
    expect(await server.redis.dbsize()).toBe(0);
  });
});

describe('the doctor on the embedded server', () => {
  it('finds that rounds can run, and reports no setting as ok that the server does not report', async () => {
    const { client } = await open(startEmbedded);
    const probe = { client, status: null, runId: 'runId', voteDeadlineMs: 2_000, shards: [0] };
    const { checks } = await examine({ ...probe, now: () => Date.now() });
    const found = statusesOf(checks);
    expect(found).toMatchObject({ answers: 'ok', scripts: 'ok', commands: 'ok', copy: 'ok' });
    expect(found.persistence).not.toBe('ok');
  });
});

describe('a comparison of real regions', () => {
  let scope: VerifyScope;
  let first: TestServer;
  let second: TestServer;

  beforeEach(async () => {
    const [a, b] = [await open(startRedisServer), await open(startRedisServer)];
    first = a.server;
    second = b.server;
    scope = {
      shard: 0,
      regions: [
        { id: 'a', client: a.client },
        { id: 'b', client: b.client },
      ],
      // No write is in progress here.
      pause: async () => {},
      now: () => Date.now(),
    };
  });

  it('finds exactly the keys that differ by value, type, expiry or presence', async () => {
    const expiresAt = Date.now() + 3_600_000;
    for (const { redis } of [first, second]) {
      for (let index = 0; index < 600; index += 1) await redis.set(`k${index}`, index);
      await redis.hset('hash', 'x', 1, 'y', 2);
      await redis.sadd('set', 'a', 'b', 'c');
      await redis.set('expiring', 'v', 'PXAT', expiresAt);
    }
    await writeState(first.redis, emptyState);
    await second.redis.set('k17', 'other');
    await second.redis.srem('set', 'c');
    await second.redis.pexpireat('expiring', expiresAt + 1);
    await second.redis.del('k18');
    await second.redis.lpush(Buffer.from([0xff, 0x00]), 'bytes');
    const place = beginVerify(['a', 'b'], true, '');
    const seen = await verifySlice(scope, place, { limit: 10_000, pauseMs: 0 });
    if (!seen.ok) throw new Error(seen.fault.reason);
    expect(seen.value.checked).toBe(604);
    expect(seen.value.differing.map(({ key }) => key).sort()).toEqual(
      ['expiring', 'k17', 'k18', 'set', '\u00ff\u0000'].sort(),
    );
    expect(seen.value.restless).toEqual([]);
  });

  it('reports values as equal if only their elements were added in another order', async () => {
    await first.redis.zadd('z', 1, 'a', 2, 'b');
    await second.redis.zadd('z', 2, 'b', 1, 'a');
    const compared = await compareKeys(scope, ['z']);
    expect(compared.ok && compared.value.get('z')).toEqual({ kind: 'equal' });
  });
});
