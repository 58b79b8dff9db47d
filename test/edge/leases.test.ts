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
} from './stand-ins.ts';

const noLease: SnapshotResult = { kind: 'refused', refusal: { kind: 'lease' } };
const silent: SnapshotResult = { kind: 'silent', reason: 'no answer in time' };
const nowhere = Object.fromEntries(regionIds.map((id) => [id, [noLease]]));
const unavailable: ReadAnswer = {
  kind: 'unavailable',
  faults: [{ region: 'eu-west-1', reason: 'no answer in time' }],
};

/** An edge whose coordinator reads `answer`, and what it was asked to read. */
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
  it('asks the region for one, under its own generation, and says that it went that way', async () => {
    const describe = async () => statusWith({ 'us-east-1': { generation: 9 } });
    const edge = new EdgeUnderTest({ describe }, { 'us-east-1': [read('["v"]')] });
    const told = await ask(edge);
    expect(told.json).toMatchObject({ results: ['v'], region: 'us-east-1', via: 'lease' });
    expect(told.headers.get('lockstep-via')).toBe('lease');
    expect(edge.snapshots[0]?.request).toMatchObject({
      strong: true,
      leased: true,
      seen: null,
      generation: 9,
    });
  });

  it('goes to the next region that has one, and says where it would like one', async () => {
    const regions = { 'us-east-1': [noLease], 'eu-west-1': [read('["v"]')] };
    const edge = new EdgeUnderTest({}, regions);
    expect((await ask(edge)).json).toMatchObject({ region: 'eu-west-1', via: 'lease' });
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
  });

  it('keeps the lease of the region that answers it, and says so once in a while', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    for (const _ of [1, 2, 3]) await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
    edge.now += limits.leaseWantedMinMs;
    await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1', 'us-east-1']);
  });

  it('says it again at once where the word did not reach the coordinator', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    await ask(edge);
    await edge.settled();
    edge.now += limits.leaseWantedMinMs;
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
    expect(said).toEqual([{ region: 'us-east-1', forMs: limits.leaseWantedMinMs }]);
  });

  it('costs the coordinator one call in half a minute at most, however often it is asked for', async () => {
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
    // And yet a lease is asked for again before the time is over for which it was asked for.
    const wished = calls.filter(({ wishes }) => wishes.length > 0);
    const gaps = wished.slice(1).map(({ at }, index) => {
      const before = wished[index];
      return at - (before?.at ?? 0) - (before?.wishes[0]?.forMs ?? 0);
    });
    expect(Math.max(...gaps)).toBeLessThan(-limits.leaseTtlMs / 2);
  });

  it('is asked for as long as at first once nobody has read for a while', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const said: number[] = [];
    edge.coordinator.attend = async (wishes) => {
      said.push(...wishes.map(({ forMs }) => forMs));
      return { regions: configuration.regions, status: statusWith() };
    };
    for (const waitMs of [0, limits.leaseWantedMinMs, 10 * limits.leaseWantedMinMs]) {
      edge.now += waitMs;
      await ask(edge);
      await edge.settled();
    }
    const first = limits.leaseWantedMinMs;
    expect(said).toEqual([first, 2 * first, first]);
  });

  it('does not ask a region without a vote', async () => {
    const describe = async () =>
      statusWith({ 'us-east-1': { state: 'out' }, 'eu-west-1': { state: 'copying' } });
    const edge = new EdgeUnderTest({ describe }, { 'ap-northeast-1': [read('["v"]')] });
    expect((await ask(edge)).json.region).toBe('ap-northeast-1');
    await edge.settled();
    expect(edge.wanted).toEqual(['ap-northeast-1']);
  });
});

describe('a strong read where no region has a lease', () => {
  it('goes through the coordinator, and says so', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    const told = await ask(edge);
    const expected = { results: ['v'], region: 'eu-west-1', via: 'coordinator' };
    expect(told.json).toMatchObject(expected);
    expect(told.headers.get('lockstep-via')).toBe('coordinator');
    expect(told.headers.get('lockstep-region')).toBe('eu-west-1');
    expect(asked).toMatchObject([{ keys: ['k'], region: null }]);
    expect(askedRegions(edge)).toEqual(regionIds);
  });

  it('does not ask them all in vain each time, but again after a while', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    for (const _ of [1, 2, 3]) await ask(edge);
    expect([askedRegions(edge).length, asked.length]).toEqual([3, 3]);
    edge.now += limits.leaselessMs;
    await ask(edge);
    expect(askedRegions(edge)).toHaveLength(6);
  });

  it('wants a lease for the nearest alone', async () => {
    const { edge } = edgeReading(through, nowhere);
    await ask(edge);
    await edge.settled();
    expect(edge.wanted).toEqual(['us-east-1']);
  });

  it('has the coordinator read in the region that was asked for', async () => {
    const { edge, asked } = edgeReading(through, nowhere);
    expect((await ask(edge, { region: 'eu-west-1' })).json.via).toBe('coordinator');
    expect([asked[0]?.region, askedRegions(edge)]).toEqual(['eu-west-1', ['eu-west-1']]);
    await edge.settled();
    expect(edge.wanted).toEqual(['eu-west-1']);
  });

  it('names every fault where the coordinator finds no region either', async () => {
    const { edge } = edgeReading(unavailable, { ...nowhere, 'us-east-1': [silent] });
    const told = await ask(edge);
    expect([told.status, problemOf(told)]).toEqual([503, 'region-unavailable']);
    expect(told.json.detail).toMatch(
      /us-east-1: no answer in time; ap-northeast-1: it has no lease; eu-west-1: no answer in time/,
    );
  });

  it('is called contended, and not a fault of regions, if the coordinator met writes alone', async () => {
    const busy = { kind: 'unavailable', faults: [], contendedIn: 'ap-northeast-1' } as const;
    const told = await ask(edgeReading(busy, nowhere).edge, { region: 'ap-northeast-1' });
    expect([told.status, problemOf(told)]).toEqual([503, 'read-contended']);
    expect([told.json.region, told.headers.get('retry-after')]).toEqual(['ap-northeast-1', '1']);
  });

  it('is not answered with replies of another form', async () => {
    const { edge } = edgeReading(
      { kind: 'read', replies: encodeReply([]), region: 'eu-west-1' },
      nowhere,
    );
    expect((await ask(edge)).status).toBe(503);
  });

  it('of keys that are always busy is read by the coordinator, without asking another region', async () => {
    const { edge } = edgeReading(through, { 'us-east-1': [read('["a"]', 4)] });
    expect((await ask(edge)).json).toMatchObject({ results: ['v'], via: 'coordinator' });
    expect(edge.snapshots).toHaveLength(limits.readAttempts);
  });
});

describe('a local read', () => {
  it('says that it went without lease and coordinator, and wants no lease', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const told = await ask(edge, { consistency: 'local' });
    expect([told.json.via, told.headers.get('lockstep-via')]).toEqual(['local', 'local']);
    expect(edge.snapshots[0]?.request).toMatchObject({ strong: false, leased: false });
    await edge.settled();
    expect(edge.wanted).toEqual([]);
  });

  it('asks a region that is out for its silence last', async () => {
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
  ] as const)('is not answered by a region that %s', async (_fault, changes, reason) => {
    const describe = async () => statusWith({ 'us-east-1': changes });
    const edge = new EdgeUnderTest({ describe });
    const told = await ask(edge, { consistency: 'local', region: 'us-east-1' });
    expect([told.status, problemOf(told)]).toEqual([503, 'region-unavailable']);
    expect(told.json.detail).toMatch(reason);
    expect(edge.snapshots).toEqual([]);
  });
});

describe('the circuit of a region', () => {
  const regions = { 'us-east-1': [silent], 'eu-west-1': [read('["v"]')] };

  it('opens with one silence, and lets one read try the region after a while', async () => {
    const edge = new EdgeUnderTest({}, regions);
    for (const _ of [1, 2, 3]) expect((await ask(edge)).status).toBe(200);
    expect(askedRegions(edge).filter((id) => id === 'us-east-1')).toHaveLength(1);
    edge.now += limits.silentRegionAvoidedMs;
    await Promise.all([ask(edge), ask(edge)]);
    expect(askedRegions(edge).filter((id) => id === 'us-east-1')).toHaveLength(2);
  });

  it('closes once the region answers', async () => {
    const edge = new EdgeUnderTest({}, { ...regions, 'us-east-1': [silent, read('["v"]')] });
    await ask(edge);
    edge.now += limits.silentRegionAvoidedMs;
    for (const _ of [1, 2]) expect((await ask(edge)).json.region).toBe('us-east-1');
  });

  it('does not stay half open where the request that tried the region was cut off', async () => {
    const edge = new EdgeUnderTest({}, regions);
    await ask(edge);
    edge.now += limits.silentRegionAvoidedMs;
    // Requests overtake each other before they reach a region, as their tokens are digested on other threads.
    const hung = Promise.withResolvers<void>();
    edge.hanging.set('us-east-1', hung.resolve);
    void ask(edge);
    await hung.promise;
    // The one that hangs waits for its region, and the others neither for it nor for that one.
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

  it('that is open leaves a local read the region where no other answers', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [silent, read('["v"]')] });
    const local = { consistency: 'local', region: 'us-east-1' };
    expect((await ask(edge, local)).status).toBe(503);
    expect((await ask(edge, local)).json.results).toEqual(['v']);
  });
});

describe('the regions that an isolate knows', () => {
  const added = { id: 'sa-east-1', url: 'https://sae1.example.com', token: 't4' };
  const sao = { ...added, location: [-23.5, -46.6] as const };
  const answering = { 'us-east-1': [read('["v"]')], 'sa-east-1': [read('["new"]')] };

  it('are asked for once, and anew beside a read after a while', async () => {
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

  it('are asked for at once where a read names one that is not known', async () => {
    const edge = new EdgeUnderTest({}, answering);
    await ask(edge);
    const status = statusWith();
    const known = [...status.regions, statusOf('sa-east-1')];
    edge.coordinator.describe = async () => ({ ...status, regions: known });
    edge.coordinator.regions = async () => [...configuration.regions, sao];
    expect((await ask(edge, { region: 'sa-east-1' })).json.results).toEqual(['new']);
  });

  it('are asked for sooner while one of them is not as it should be', async () => {
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

  it('stand as they were where the coordinator cannot be reached', async () => {
    const edge = new EdgeUnderTest({}, answering);
    await ask(edge);
    edge.coordinator.describe = () => Promise.reject(new Error('the object was reset'));
    edge.now += limits.directoryStaleMs;
    expect((await ask(edge)).status).toBe(200);
  });
});
