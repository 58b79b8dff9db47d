/** Tests reads that find locks, and the choice of their region. leases.test.ts tests leases. */
import { describe, expect, it } from 'vitest';
import type { Resolution } from '../../shared/contracts/coordinator.ts';
import type { SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { EdgeUnderTest, problemOf, read, regionIds, statusWith, tokens } from './fakes.ts';

const body = { reads: [['GET', 'k']] };
const silent: SnapshotResult = { kind: 'silent', reason: 'no answer within 2500 ms' };

type Kind = Resolution['kind'];

/** An edge whose coordinator resolves every transaction to the next of `kinds`, and to the last one after that. */
function edgeResolving(kinds: readonly Kind[], regions: Record<string, readonly SnapshotResult[]>) {
  const asked: (readonly (readonly [number, number])[])[] = [];
  const resolve = async (transactions: readonly (readonly [number, number])[]) => {
    const kind = kinds[Math.min(asked.length, kinds.length - 1)] ?? 'aborted';
    asked.push(transactions);
    return transactions.map(
      (transaction): Resolution =>
        kind === 'committed' ? { kind, transaction, keys: ['k', 'other'] } : { kind, transaction },
    );
  };
  return { edge: new EdgeUnderTest({ resolve }, regions), asked };
}

function ask(edge: EdgeUnderTest, more: object = {}) {
  return edge.ask('POST', '/v1/reads', { body: { ...body, ...more }, token: tokens.read });
}

describe('a strong read', () => {
  it('of keys without locks takes one snapshot, and the coordinator resolves nothing', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const response = await ask(edge);
    expect(response.status).toBe(200);
    expect(response.json).toEqual({
      results: ['v'],
      region: 'us-east-1',
      consistency: 'strong',
      via: 'lease',
      attempts: 1,
    });
    expect(response.headers.get('lockstep-region')).toBe('us-east-1');
    expect(response.headers.get('lockstep-consistency')).toBe('strong');
    expect(edge.snapshots[0]?.request).toMatchObject({
      strong: true,
      generation: 7,
      settle: [],
      keys: ['k'],
    });
  });

  it.each(['pending', 'aborted'] as const)(
    'returns the value before a lock of a %s write',
    async (kind) => {
      const { edge, asked } = edgeResolving([kind], { 'us-east-1': [read('["old"]', 4)] });
      const response = await ask(edge);
      expect(response.json).toMatchObject({ results: ['old'], attempts: 1 });
      expect(asked).toEqual([[[1, 4]]]);
    },
  );

  it('applies a committed write whose lock it finds, and reads again', async () => {
    const regions = { 'us-east-1': [read('["old"]', 4, 4), read('["new"]')] };
    const { edge, asked } = edgeResolving(['committed'], regions);
    const response = await ask(edge);
    expect(response.json).toMatchObject({ results: ['new'], attempts: 2 });
    expect(asked).toEqual([[[1, 4]]]);
    expect(edge.snapshots[1]?.request.settle).toEqual([
      { transaction: [1, 4], outcome: 'commit', keys: ['k', 'other'] },
    ]);
  });

  it('of several keys resolves a lock that it finds after applying another', async () => {
    const two = [['MGET', 'k', 'other']];
    const regions = { 'us-east-1': [read('["a"]', 4), read('["b"]', 5), read('["c"]')] };
    const { edge, asked } = edgeResolving(['committed', 'pending'], regions);
    expect((await ask(edge, { reads: two })).json).toMatchObject({ results: ['b'], attempts: 2 });
    expect(asked).toEqual([[[1, 4]], [[1, 5]]]);
  });

  it('of one key returns the value between a commit that it applied and a later lock', async () => {
    const regions = { 'us-east-1': [read('["a"]', 4), read('["b"]', 5), read('["c"]')] };
    const { edge, asked } = edgeResolving(['committed', 'committed'], regions);
    expect((await ask(edge)).json).toMatchObject({ results: ['b'], attempts: 2 });
    expect(asked).toEqual([[[1, 4]]]);
  });

  it('by a script with one declared key resolves later locks, since it may read other keys', async () => {
    const script = [['EVAL_RO', "return redis.call('MGET', KEYS[1], 'other')", '1', 'k']];
    const regions = { 'us-east-1': [read('["a"]', 4), read('["b"]', 5), read('["c"]')] };
    const { edge, asked } = edgeResolving(['committed', 'committed'], regions);
    const asking = { body: { reads: script }, token: tokens.write };
    expect((await edge.ask('POST', '/v1/reads', asking)).json).toMatchObject({ results: ['c'] });
    expect(asked).toEqual([[[1, 4]], [[1, 5]]]);
  });

  it('fails as contended after a bounded number of snapshots if its keys change each time', async () => {
    const { edge } = edgeResolving(['committed'], { 'us-east-1': [read('["v"]', 4)] });
    const response = await ask(edge);
    expect([response.status, problemOf(response)]).toEqual([503, 'read-contended']);
    expect(edge.snapshots).toHaveLength(limits.readAttempts);
    expect(response.headers.get('retry-after')).toBe('1');
  });

  it.each([
    ['is silent', silent],
    ['has lost writes', { kind: 'refused', refusal: { kind: 'lost' } }],
    [
      'belongs to another generation',
      { kind: 'refused', refusal: { kind: 'generation', has: 3, keys: 0 } },
    ],
    ['returns too few replies', read('[]')],
  ] as const)('goes to the next region if the first %s', async (_fault, fault) => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [fault], 'eu-west-1': [read('["v"]')] });
    expect((await ask(edge)).json).toMatchObject({ results: ['v'], region: 'eu-west-1' });
  });

  it('goes to the next region if a lock is older than the kept log', async () => {
    const regions = { 'us-east-1': [read('["?"]', 4)], 'eu-west-1': [read('["v"]')] };
    const { edge } = edgeResolving(['forgotten'], regions);
    expect((await ask(edge)).json).toMatchObject({ results: ['v'], region: 'eu-west-1' });
  });

  it('tries a silent region last, for a while', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [silent], 'eu-west-1': [read('["v"]')] });
    await ask(edge);
    await ask(edge);
    expect(edge.snapshots.map(({ region }) => region)).toEqual([
      'us-east-1',
      'eu-west-1',
      'eu-west-1',
    ]);
  });

  it('learns a newer generation from the coordinator if a region refuses the old one', async () => {
    const regions: Record<string, readonly SnapshotResult[]> = {
      'us-east-1': [
        { kind: 'refused', refusal: { kind: 'generation', has: 8, keys: 0 } },
        read('["v"]'),
      ],
    };
    let generation = 6;
    const describe = async () => {
      generation += 1;
      return statusWith({ 'us-east-1': { generation } });
    };
    const edge = new EdgeUnderTest({ describe }, regions);
    expect((await ask(edge)).json).toMatchObject({ results: ['v'], region: 'us-east-1' });
    expect(edge.snapshots.map(({ request }) => request.generation)).toEqual([7, 8]);
  });

  it.each([
    ['a read', ['GET', 'k'], ['us-east-1', 'eu-west-1']],
    ['a script', ['EVAL_RO', "return redis.call('GET', 'k')", '0'], ['us-east-1']],
  ])(
    'goes to no more regions after unanswered requests, nor through the coordinator: %s',
    async (_name, words, asked) => {
      for (const consistency of ['strong', 'local']) {
        const unanswered = { ...silent, isUnanswered: true } as const;
        const regions = Object.fromEntries(regionIds.map((region) => [region, [unanswered]]));
        const edge = new EdgeUnderTest({}, regions);
        const response = await edge.ask('POST', '/v1/reads', {
          body: { reads: [words], consistency },
          token: tokens.write,
        });
        expect([response.status, problemOf(response)]).toEqual([504, 'read-unanswered']);
        expect(edge.snapshots.map(({ region }) => region)).toEqual(asked);
        expect(edge.calls.filter(([, method]) => method === 'read')).toEqual([]);
      }
    },
  );

  it('passes the number of unanswered requests to the coordinator', async () => {
    const unanswered = { ...silent, isUnanswered: true } as const;
    const lease: SnapshotResult = { kind: 'refused', refusal: { kind: 'lease' } };
    const requests: unknown[] = [];
    const edge = new EdgeUnderTest(
      {
        read: async (request) => {
          requests.push(request);
          return { kind: 'unavailable', faults: [], isUnanswered: true };
        },
      },
      { 'us-east-1': [unanswered], 'eu-west-1': [lease], 'ap-northeast-1': [lease] },
    );
    const response = await ask(edge);
    expect(requests).toMatchObject([{ unanswered: 1 }]);
    expect([response.status, problemOf(response)]).toEqual([504, 'read-unanswered']);
  });

  it('returns every region’s fault if none answers', async () => {
    const regions = { 'us-east-1': [silent], 'eu-west-1': [silent], 'ap-northeast-1': [silent] };
    const response = await ask(new EdgeUnderTest({}, regions));
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(response.json.detail).toMatch(/us-east-1.*eu-west-1.*ap-northeast-1/);
  });

  it('fails if the coordinator cannot resolve a lock', async () => {
    const resolve = () => Promise.reject(new Error('the object was reset'));
    const response = await ask(new EdgeUnderTest({ resolve }, { 'us-east-1': [read('["v"]', 4)] }));
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
  });

  it('with a failing command returns 422 naming it', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v",{"e":"WRONGTYPE x"}]')] });
    const response = await ask(edge, {
      reads: [
        ['GET', 'k'],
        ['HGETALL', 'k'],
      ],
    });
    expect([response.status, problemOf(response)]).toEqual([422, 'command-failed']);
    expect(response.json).toMatchObject({ index: 1, error: 'WRONGTYPE x' });
  });
});

describe('the region of a read', () => {
  const regions = {
    'us-east-1': [read('["1"]')],
    'eu-west-1': [read('["2"]')],
    'ap-northeast-1': [read('["3"]')],
  };

  it.each([
    ['Paris', [48.9, 2.4], 'eu-west-1'],
    ['Seoul', [37.6, 127], 'ap-northeast-1'],
    ['Honolulu, across the date line from its nearest,', [21.3, -157.9], 'ap-northeast-1'],
    ['Boston', [42.4, -71.1], 'us-east-1'],
  ] as const)('for a client in %s is the nearest', async (_place, location, expected) => {
    const edge = new EdgeUnderTest({}, regions);
    edge.location = location;
    expect((await ask(edge)).json.region).toBe(expected);
  });

  it('can be requested', async () => {
    const response = await ask(new EdgeUnderTest({}, regions), { region: 'ap-northeast-1' });
    expect(response.json.region).toBe('ap-northeast-1');
  });

  it('is not replaced if it was requested and is silent', async () => {
    const edge = new EdgeUnderTest({}, { ...regions, 'eu-west-1': [silent] });
    const response = await ask(edge, { region: 'eu-west-1' });
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(edge.snapshots).toHaveLength(1);
  });

  it('is refused with 404 and the known regions if it does not exist', async () => {
    const response = await ask(new EdgeUnderTest({}, regions), { region: 'mars' });
    expect(response.status).toBe(404);
    expect(response.json.regions).toContain('eu-west-1');
  });
});

describe('a local read', () => {
  it('returns its consistency, and ignores locks', async () => {
    const edge = new EdgeUnderTest({}, { 'us-east-1': [read('["v"]')] });
    const response = await ask(edge, { consistency: 'local' });
    expect(response.headers.get('lockstep-consistency')).toBe('local');
    expect(edge.snapshots[0]?.request.strong).toBe(false);
  });
});

describe('an invalid read', () => {
  it.each([
    ['a write command', { reads: [['SET', 'k', 'v']] }],
    ['no commands', { reads: [] }],
    ['an unknown consistency', { ...body, consistency: 'maybe' }],
    ['a reserved key', { reads: [['GET', 'lockstep:0:state']] }],
  ])('with %s reaches no region', async (_fault, refused) => {
    const edge = new EdgeUnderTest();
    expect((await edge.ask('POST', '/v1/reads', { body: refused })).status).toBe(400);
    expect(edge.snapshots).toEqual([]);
  });
});
