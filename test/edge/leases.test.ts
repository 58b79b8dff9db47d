/** Tests the path of reads: leases, circuit breakers, and the region directory of an isolate. */
import { describe, expect, it } from 'vitest';
import type { LeaseWish, ReadAnswer, ReadRequest } from '../../shared/contracts/coordinator.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import {
  configuration,
  type EdgeResponse,
  EdgeUnderTest,
  problemOf,
  read,
  regionIds,
  statusOf,
  statusWith,
  tokens,
} from './fakes.ts';

const noLease: SnapshotResult = { kind: 'refused', refusal: { kind: 'lease' } };
const silent: SnapshotResult = { kind: 'silent', reason: 'no answer in time' };
const nowhere = Object.fromEntries(regionIds.map((id) => [id, [noLease]]));
const unavailable: ReadAnswer = {
  kind: 'unavailable',
  faults: [{ region: 'eu-west-1', reason: 'no answer in time' }],
};

/** An edge whose coordinator returns `answer` for reads, and the reads that it got. */
function edgeReading(answer: ReadAnswer, regions: Record<string, readonly SnapshotResult[]>) {
  const asked: ReadRequest[] = [];
  const edge = new EdgeUnderTest(
    {
      read: async (request) => {
        asked.push(request);
        return answer;
      },
      resolve: async (transactions) =>
        transactions.map((transaction) => ({ kind: 'committed', transaction, keys: ['k'] })),
    },
    regions,
  );
  return { edge, asked };
}

const through: ReadAnswer = { kind: 'read', replies: encodeReply(['v']), region: 'eu-west-1' };

function ask(edge: EdgeUnderTest, more: object = {}): Promise<EdgeResponse> {
  const body = { reads: [['GET', 'k']], ...more };
  return edge.ask('POST', '/v1/reads', { body, token: tokens.read });
}

function askedRegions(edge: EdgeUnderTest): readonly string[] {
  return edge.snapshots.map(({ region }) => region);
}

describe('a strong read with a lease', () => {
  it('uses the lease of a region under its own generation, and returns that path', async () => {
    const describe = async () => statusWith({ 'us-east-1': { generation: 9 } });
    const edge = new EdgeUnderTest({ describe }, { 'us-east-1': [read('["v"]')] });
    const response = await ask(edge);
    expect(response.json).toMatchObject({ results: ['v'], region: 'us-east-1', via: 'lease' });
    expect(response.headers.get('lockstep-via')).toBe('lease');
    expect(edge.snapshots[0]?.request).toMatchObject({
      strong: true,
      leased: true,
      lastAcknowledged: null,
      generation: 9,
    });
  });

  it('uses the next region that has a lease, and requests one for the nearest', async () => {
    const regions = { 'us-east-1': [noLease], 'eu-west-1': [read('["v"]')] };
    const edge = new EdgeUnderTest({}, regions);
    expect((await ask(edge)).json).toMatchObject({ region: 'eu-west-1', via: 'lease' });
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
  });

  it('renews the lease of the region that it reads, at intervals', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    for (const _ of [1, 2, 3]) await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
    edge.now += limits.leaseReadersMinMs;
    await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1', 'us-east-1']);
  });

  it('requests the lease again at once if the request did not reach the coordinator', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    await ask(edge);
    await edge.settled();
    edge.now += limits.leaseReadersMinMs;
    edge.coordinator.attend = () => Promise.reject(new Error('the object was reset'));
    await ask(edge);
    await edge.settled();
    const said: LeaseWish[] = [];
    edge.coordinator.attend = async (wishes) => {
      said.push(...wishes);
      return { regions: configuration.regions, status: statusWith() };
    };
    await ask(edge);
    await edge.settled();
    expect(said).toEqual([{ region: 'us-east-1', forMs: limits.leaseReadersMinMs }]);
  });

  it('calls the coordinator at most every 30 s, at any rate of reads', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const calls: { readonly at: number; readonly wishes: readonly LeaseWish[] }[] = [];
    edge.coordinator.attend = async (wishes) => {
      calls.push({ at: edge.now, wishes });
      return { regions: configuration.regions, status: statusWith() };
    };
    const begunAt = edge.now;
    for (let second = 0; second < 1_200; second += 1) {
      for (const _ of [1, 2]) await ask(edge);
      await edge.settled();
      edge.now += 1_000;
    }
    const steady = calls.filter(({ at }) => at > begunAt + 300_000);
    expect(steady.length).toBeGreaterThan(0);
    expect(steady.length * 30_000).toBeLessThanOrEqual(900_000);
    // The edge still requests each lease again before the requested time has passed.
    const wished = calls.filter(({ wishes }) => wishes.length > 0);
    const gaps = wished.slice(1).map(({ at }, index) => {
      const before = wished[index];
      return at - (before?.at ?? 0) - (before?.wishes[0]?.forMs ?? 0);
    });
    expect(Math.max(...gaps)).toBeLessThan(-limits.leaseTtlMs / 2);
  });

  it('requests the initial duration again after a time without reads', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const said: number[] = [];
    edge.coordinator.attend = async (wishes) => {
      said.push(...wishes.map(({ forMs }) => forMs));
      return { regions: configuration.regions, status: statusWith() };
    };
    for (const waitMs of [0, limits.leaseReadersMinMs, 10 * limits.leaseReadersMinMs]) {
      edge.now += waitMs;
      await ask(edge);
      await edge.settled();
    }
    const first = limits.leaseReadersMinMs;
    expect(said).toEqual([first, 2 * first, first]);
  });

  it('skips regions without a vote', async () => {
    const describe = async () =>
      statusWith({ 'us-east-1': { state: 'out' }, 'eu-west-1': { state: 'copying' } });
    const edge = new EdgeUnderTest({ describe }, { 'ap-northeast-1': [read('["v"]')] });
    expect((await ask(edge)).json.region).toBe('ap-northeast-1');
    await edge.settled();
    expect(edge.wanted).toEqual(['ap-northeast-1']);
  });
});

describe('a strong read without a lease in any region', () => {
  it('goes through the coordinator, and returns that path', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    const response = await ask(edge);
    const expected = { results: ['v'], region: 'eu-west-1', via: 'coordinator' };
    expect(response.json).toMatchObject(expected);
    expect(response.headers.get('lockstep-via')).toBe('coordinator');
    expect(response.headers.get('lockstep-region')).toBe('eu-west-1');
    expect(asked).toMatchObject([{ keys: ['k'], region: null }]);
    expect(askedRegions(edge)).toEqual(regionIds);
  });

  it('skips regions without a lease for a while, and then tries them again', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    for (const _ of [1, 2, 3]) await ask(edge);
    expect([askedRegions(edge).length, asked.length]).toEqual([3, 3]);
    edge.now += limits.leaselessMs;
    await ask(edge);
    expect(askedRegions(edge)).toHaveLength(6);
  });

  it('requests a lease for the nearest region only', async () => {
    const { edge } = edgeReading(through, nowhere);
    await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
  });

  it('makes the coordinator read in the requested region', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    expect((await ask(edge, { region: 'eu-west-1' })).json.via).toBe('coordinator');
    expect([asked[0]?.region, askedRegions(edge)]).toEqual(['eu-west-1', ['eu-west-1']]);
    await edge.settled();
    expect(edge.wanted).toEqual(['eu-west-1']);
  });

  it('returns every fault if the coordinator finds no region either', async () => {
    const { edge } = edgeReading(unavailable, { ...nowhere, 'us-east-1': [silent] });
    const response = await ask(edge);
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(response.json.detail).toMatch(
      /us-east-1: no answer in time; ap-northeast-1: it has no lease; eu-west-1: no answer in time/,
    );
  });

  it('fails as contended, not as unavailable, if only writes blocked the coordinator', async () => {
    const busy = { kind: 'unavailable', faults: [], contendedIn: 'ap-northeast-1' } as const;
    const response = await ask(edgeReading(busy, nowhere).edge, { region: 'ap-northeast-1' });
    expect([response.status, problemOf(response)]).toEqual([503, 'read-contended']);
    expect([response.json.region, response.headers.get('retry-after')]).toEqual([
      'ap-northeast-1',
      '1',
    ]);
  });

  it('fails if the coordinator returns malformed replies', async () => {
    const { edge } = edgeReading(
      { kind: 'read', replies: encodeReply([]), region: 'eu-west-1' },
      nowhere,
    );
    expect((await ask(edge)).status).toBe(503);
  });

  it('of contended keys goes through the coordinator, and to no other region', async () => {
    const { edge } = edgeReading(through, { 'us-east-1': [read('["a"]', 4)] });
    expect((await ask(edge)).json).toMatchObject({ results: ['v'], via: 'coordinator' });
    expect(edge.snapshots).toHaveLength(limits.readAttempts);
  });
});

describe('a local read', () => {
  it('returns the local path, and requests no lease', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const response = await ask(edge, { consistency: 'local' });
    expect([response.json.via, response.headers.get('lockstep-via')]).toEqual(['local', 'local']);
    expect(edge.snapshots[0]?.request).toMatchObject({ strong: false, leased: false });
    await edge.settled();
    expect(edge.wanted).toEqual([]);
  });

  it('tries a region that is out for its silence last', async () => {
    const describe = async () => statusWith({ 'us-east-1': { state: 'out', cause: 'silent' } });
    const regions = {
      'us-east-1': [read('["old"]')],
      'eu-west-1': [silent],
      'ap-northeast-1': [silent],
    };
    const edge = new EdgeUnderTest({ describe }, regions);
    expect((await ask(edge, { consistency: 'local' })).json.region).toBe('us-east-1');
    expect(askedRegions(edge)).toEqual(['eu-west-1', 'ap-northeast-1', 'us-east-1']);
  });

  it.each([
    ['is being copied', { state: 'copying' }, /it is being copied/],
    ['has lost writes', { state: 'out', cause: 'lost' }, /it is out: lost/],
  ] as const)('is refused for a region that %s', async (_fault, changes, reason) => {
    const describe = async () => statusWith({ 'us-east-1': changes });
    const edge = new EdgeUnderTest({ describe });
    const response = await ask(edge, { consistency: 'local', region: 'us-east-1' });
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(response.json.detail).toMatch(reason);
    expect(edge.snapshots).toEqual([]);
  });
});

describe('the circuit breaker of a region', () => {
  const regions = { 'us-east-1': [silent], 'eu-west-1': [read('["v"]')] };

  it('opens after one silence, and lets one read try the region later', async () => {
    const edge = new EdgeUnderTest({}, regions);
    for (const _ of [1, 2, 3]) expect((await ask(edge)).status).toBe(200);
    expect(askedRegions(edge).filter((id) => id === 'us-east-1')).toHaveLength(1);
    edge.now += limits.silentRegionAvoidedMs;
    await Promise.all([ask(edge), ask(edge)]);
    expect(askedRegions(edge).filter((id) => id === 'us-east-1')).toHaveLength(2);
  });

  it('closes after the region answers', async () => {
    const edge = new EdgeUnderTest({}, { ...regions, 'us-east-1': [silent, read('["v"]')] });
    await ask(edge);
    edge.now += limits.silentRegionAvoidedMs;
    for (const _ of [1, 2]) expect((await ask(edge)).json.region).toBe('us-east-1');
  });

  it('does not stay half-open if the request that tried the region was aborted', async () => {
    const edge = new EdgeUnderTest({}, regions);
    await ask(edge);
    edge.now += limits.silentRegionAvoidedMs;
    // Requests overtake each other before they reach a region, since their tokens are digested on other threads.
    const hung = Promise.withResolvers<void>();
    edge.hanging.set('us-east-1', hung.resolve);
    void ask(edge);
    await hung.promise;
    // The hanging read waits for its region; the others wait neither for it nor for that region.
    expect((await ask(edge)).json.region).toBe('eu-west-1');
    edge.hanging.delete('us-east-1');
    edge.regions = { ...regions, 'us-east-1': [read('["back"]')] };
    edge.now += limits.silentRegionAvoidedMs + 1;
    expect((await ask(edge)).json.results).toEqual(['back']);
  });

  it('stays closed for a region that has no lease', async () => {
    const edge = new EdgeUnderTest({}, { ...regions, 'us-east-1': [noLease, read('["v"]')] });
    await ask(edge);
    edge.now += limits.leaselessMs;
    expect((await ask(edge)).json.region).toBe('us-east-1');
  });

  it('lets a local read use an open region if no other answers', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [silent, read('["v"]')] });
    const local = { consistency: 'local', region: 'us-east-1' };
    expect((await ask(edge, local)).status).toBe(503);
    expect((await ask(edge, local)).json.results).toEqual(['v']);
  });
});

describe('the region directory of an isolate', () => {
  const added = { id: 'sa-east-1', url: 'https://sae1.example.com', token: 't4' };
  const sao = { ...added, location: [-23.5, -46.6] as const };
  const answering = { 'us-east-1': [read('["v"]')], 'sa-east-1': [read('["new"]')] };

  it('is read once, and refreshed in the background after a while', async () => {
    let asked = 0;
    const describe = async () => {
      asked += 1;
      return statusWith();
    };
    const edge = new EdgeUnderTest({ describe }, answering);
    for (const _ of [1, 2]) await ask(edge, { consistency: 'local' });
    expect(asked).toBe(1);
    edge.now += limits.directoryFreshMs;
    await ask(edge, { consistency: 'local' });
    await edge.settled();
    expect(asked).toBe(2);
  });

  it('is refreshed at once for a read of an unknown region', async () => {
    const edge = new EdgeUnderTest({}, answering);
    await ask(edge);
    const status = statusWith();
    const known = [...status.regions, statusOf('sa-east-1')];
    edge.coordinator.describe = async () => ({ ...status, regions: known });
    edge.coordinator.regions = async () => [...configuration.regions, sao];
    expect((await ask(edge, { region: 'sa-east-1' })).json.results).toEqual(['new']);
  });

  it('is refreshed sooner while a region is not a healthy voter', async () => {
    let asked = 0;
    const describe = async () => {
      asked += 1;
      return statusWith({ 'eu-west-1': { state: 'out' } });
    };
    const edge = new EdgeUnderTest({ describe }, answering);
    await ask(edge, { consistency: 'local' });
    edge.now += limits.directoryUnsettledMs;
    await ask(edge, { consistency: 'local' });
    await edge.settled();
    expect(asked).toBe(2);
  });

  it('stays in use if the coordinator is unreachable', async () => {
    const edge = new EdgeUnderTest({}, answering);
    await ask(edge);
    edge.coordinator.describe = () => Promise.reject(new Error('the object was reset'));
    edge.now += limits.directoryStaleMs;
    expect((await ask(edge)).status).toBe(200);
  });
});
