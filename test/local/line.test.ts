/** Tests the line between a Worker and a gateway: cut, slow, or losing responses. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Gateway } from '../../local/gateway/gateway.ts';
import { startGateway } from '../../local/gateway/gateway.ts';
import { placesFor } from '../../local/gateway/round-trips.ts';
import type { LocalRegion } from '../../local/stack/regions.ts';
import { redisKind, startRegion } from '../../local/stack/regions.ts';
import { connectTo } from '../support/redis.ts';

/** A busy machine may take longer than the default time of a poll. */
const patience = { timeout: 120_000 };
const token = 'token-of-the-gateway';
const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-line-'));
let region: LocalRegion;
let redis: Redis;
let gateway: Gateway;

beforeAll(async () => {
  const [place] = placesFor(1);
  if (place === undefined) throw new Error('there is a first place');
  region = await startRegion(place, stateDirectory, redisKind());
  redis = connectTo(region.port);
  gateway = await startGateway({ redisPort: region.port, token, roundTripMs: 0 });
});

afterAll(async () => {
  redis.disconnect();
  await gateway.close();
  await region.stop();
  rmSync(stateDirectory, { recursive: true });
});

beforeEach(async () => {
  await redis.flushall();
});

afterEach(() => {
  gateway.faults.clear();
});

const counter = () => redis.get('counter');

/** An increment through the gateway, whose sender may give up. */
function increment() {
  const sender = new AbortController();
  const answer = fetch(`${gateway.url}/incr/counter?_token=${token}`, { signal: sender.signal });
  return { answer, giveUp: () => sender.abort() };
}

describe('a line', () => {
  it('that is cut lets nothing arrive, and lost requests stay lost when it is whole again', async () => {
    const lostBefore = gateway.faults.lostOnLine;
    gateway.faults.setLine({ reach: 'cut' });
    const lost = increment();
    await expect.poll(() => gateway.faults.lostOnLine, patience).toBe(lostBefore + 1);
    gateway.faults.setLine({ reach: 'whole' });
    expect(await (await increment().answer).json()).toEqual({ result: 1 });
    lost.giveUp();
    await expect(lost.answer).rejects.toThrow('aborted');
    await expect.poll(() => gateway.meter.inFlight, patience).toBe(0);
    expect(await counter()).toBe('1');
  });

  it('that loses responses lets requests arrive and run', async () => {
    gateway.faults.setLine({ reach: 'answers-lost' });
    const unanswered = increment();
    await expect.poll(counter, patience).toBe('1');
    unanswered.giveUp();
    await expect(unanswered.answer).rejects.toThrow('aborted');
  });

  it('that is slow adds to the round trip, until it is fast again', async () => {
    gateway.faults.setLine({ slowMs: 120 });
    const startedAt = performance.now();
    await increment().answer;
    // Only the lower bound is certain: a busy machine may add any time to it.
    expect(performance.now() - startedAt).toBeGreaterThan(118);
    gateway.faults.setLine({ slowMs: 0 });
    expect(gateway.faults.onRequest(null)).toBe(null);
  });

  it('keeps its slowness while it is cut', () => {
    gateway.faults.setLine({ slowMs: 120 });
    gateway.faults.setLine({ reach: 'cut' });
    expect(gateway.faults.onRequest(null)?.fault).toEqual({ kind: 'hang', executed: false });
    gateway.faults.setLine({ reach: 'whole' });
    expect(gateway.faults.onRequest(null)?.fault).toEqual({ kind: 'slow', ms: 120 });
  });

  it('applies after rules, and is whole when all faults are cleared', () => {
    gateway.faults.setLine({ reach: 'cut' });
    gateway.faults.add({ fault: { kind: 'duplicate' }, times: 1 });
    expect(gateway.faults.onRequest(null)?.fault.kind).toBe('duplicate');
    expect(gateway.faults.onRequest(null)?.fault.kind).toBe('hang');
    gateway.faults.clear();
    expect(gateway.faults.line).toEqual({ reach: 'whole', slowMs: 0 });
    expect(gateway.faults.onRequest(null)).toBe(null);
  });
});
