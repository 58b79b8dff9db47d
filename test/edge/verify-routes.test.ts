/** Tests the routes of verify and repair. verify.test.ts tests the comparison itself. */
import { describe, expect, it } from 'vitest';
import type { AdminCommand } from '../../shared/contracts/members.ts';
import type { Inspection, InspectionResult } from '../../shared/contracts/round.ts';
import { EdgeUnderTest, problemOf, regionIds, statusWith, tokens } from './fakes.ts';

type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** An edge over regions with these digests by key, and a log of the last writes to these keys. */
function edgeOver(contents: Contents, lastWrites: Readonly<Record<string, number>> = {}) {
  const edge = new EdgeUnderTest();
  edge.inspect = (region: string, asked: Inspection): InspectionResult => {
    const held = contents[region] ?? {};
    const names = asked.kind === 'keys' ? asked.keys : Object.keys(held);
    const keys = names.map((key) => ({ key, digest: held[key] ?? null, holder: null }));
    return { kind: 'inspected', keys, cursor: null, more: false };
  };
  const orders: AdminCommand[] = [];
  edge.coordinator = {
    ...edge.coordinator,
    lastWrites: async (keys) => keys.map((key) => lastWrites[key] ?? null),
    inDoubt: async () => ({ transactions: [], blocked: [] }),
    order: async (order) => {
      orders.push(order);
      return { kind: 'taken', detail: 'k is copied.' };
    },
  };
  return { edge, orders };
}

const equal: Contents = Object.fromEntries(regionIds.map((id) => [id, { k: '1' }]));

function verify(edge: EdgeUnderTest, body?: unknown) {
  return edge.ask('POST', '/v1/admin/verify', { token: tokens.admin, body });
}

function repair(edge: EdgeUnderTest, body: unknown) {
  return edge.ask('POST', '/v1/admin/repair', { token: tokens.admin, body });
}

describe('a call of verify', () => {
  it('compares all voters, and returns its progress', async () => {
    const response = await verify(edgeOver(equal).edge);
    expect(response.json).toEqual({
      checked: 1,
      differing: [],
      undecided: [],
      regions: [...regionIds],
      next: null,
      done: { region: null, regionsDone: 3, regionsTotal: 3, checked: 1, differing: 0 },
    });
  });

  it('skips regions without a vote', async () => {
    const { edge } = edgeOver({ ...equal, 'eu-west-1': { k: '2' } });
    edge.coordinator.describe = async () => statusWith({ 'eu-west-1': { state: 'out' } });
    expect((await verify(edge)).json).toMatchObject({ differing: [] });
    const regions = ['eu-west-1', 'us-east-1'];
    expect((await verify(edge, { regions })).json).toMatchObject({ differing: [{ key: 'k' }] });
  });

  it('returns the kind of each difference, as far as the kept log shows it', async () => {
    const contents = {
      'us-east-1': { differs: '1', partly: '1', around: '1', '\u00ff': '1' },
      'eu-west-1': { differs: '2', partly: '1', around: '2', '\u00ff': '2' },
      'ap-northeast-1': { differs: '1', around: '1', '\u00ff': '1' },
    };
    const { edge } = edgeOver(contents, { differs: 7, partly: 9 });
    const response = await verify(edge);
    expect(response.json.differing).toMatchObject([
      { key: 'differs', kind: 'differs', lastWrite: 7, regions: { 'eu-west-1': '2' } },
      { key: 'partly', kind: 'only-in', lastWrite: 9, regions: { 'ap-northeast-1': null } },
      { key: 'around', kind: 'around', lastWrite: null },
      { key: '/w==', keyEncoding: 'base64', kind: 'around', lastWrite: null },
    ]);
    const asked = edge.calls.filter(([, method]) => method === 'lastWrites');
    expect(asked).toEqual([['coordinator', 'lastWrites', ['differs', 'partly', 'around']]]);
  });

  it('continues at the cursor, even in another isolate', async () => {
    const contents = Object.fromEntries(regionIds.map((id) => [id, { k1: '1', k2: '1' }]));
    const first = await verify(edgeOver(contents).edge, { limit: 1 });
    expect(first.json).toMatchObject({ checked: 2, done: { region: 'eu-west-1' } });
    const second = await verify(edgeOver(contents).edge, { cursor: first.json.next });
    expect(second.json).toMatchObject({ checked: 0, next: null, done: { checked: 2 } });
  });

  it('is refused with 409 if a region of its cursor has lost its vote', async () => {
    const first = await verify(edgeOver(equal).edge, { limit: 1 });
    const { edge } = edgeOver(equal);
    edge.coordinator.describe = async () => statusWith({ 'eu-west-1': { state: 'out' } });
    const response = await verify(edge, { cursor: first.json.next });
    expect([response.status, problemOf(response)]).toEqual([409, 'order-refused']);
    expect(response.json.detail).toMatch(/eu-west-1.*Start again/);
  });

  it('is refused with 409 if there is only one voter', async () => {
    const { edge } = edgeOver(equal);
    const out = { state: 'out' } as const;
    const describe = async () => statusWith({ 'eu-west-1': out, 'us-east-1': out });
    edge.coordinator.describe = describe;
    expect((await verify(edge)).status).toBe(409);
  });

  it('returns 503 naming a region that does not answer', async () => {
    const { edge } = edgeOver(equal);
    edge.inspect = () => ({ kind: 'silent', reason: 'no answer in time' });
    const response = await verify(edge);
    expect([response.status, problemOf(response)]).toEqual([503, 'region-unavailable']);
    expect(response.json.detail).toMatch(/us-east-1.*no answer in time/);
  });

  it.each([
    [{ cursor: 'x' }],
    [{ cursor: '' }],
    [{ limit: 0 }],
    [{ limit: 10_001 }],
    [{ pauseMs: 5_001 }],
    [{ regions: ['us-east-1'] }],
    [{ regions: ['us-east-1', 'us-east-1'] }],
    [{ prefix: 'x'.repeat(501) }],
    [{ everything: true }],
  ])('with the body %j gets 400', async (body) => {
    const response = await verify(edgeOver(equal).edge, body);
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
  });

  it('of a region that does not exist gets 404', async () => {
    const response = await verify(edgeOver(equal).edge, { regions: ['us-east-1', 'mars'] });
    expect([response.status, problemOf(response)]).toEqual([404, 'region-unknown']);
  });
});

describe('a call of repair', () => {
  const differing = { ...equal, 'eu-west-1': { k: '2' } };

  it('orders the necessary copies', async () => {
    const { edge, orders } = edgeOver(differing);
    const response = await repair(edge, { keys: ['k'] });
    expect([response.status, response.json]).toEqual([202, { detail: 'k is copied.' }]);
    const keys = [{ key: 'k', regions: ['eu-west-1'] }];
    expect(orders).toEqual([{ kind: 'repair', source: 'us-east-1', keys }]);
  });

  it('orders nothing for keys that are equal in all voters', async () => {
    const { edge, orders } = edgeOver(equal);
    const response = await repair(edge, { keys: ['k'], source: 'eu-west-1' });
    expect([response.status, orders]).toEqual([200, []]);
  });

  it.each(['mars', 'ap-northeast-1'])('is refused from %s, which does not vote', async (source) => {
    const { edge, orders } = edgeOver(differing);
    edge.coordinator.describe = async () => statusWith({ 'ap-northeast-1': { state: 'copying' } });
    const response = await repair(edge, { keys: ['k'], source });
    expect([response.status, problemOf(response), orders]).toEqual([409, 'order-refused', []]);
  });

  it('needs a source for a key that waits for an operator', async () => {
    const { edge, orders } = edgeOver(equal);
    edge.coordinator.inDoubt = async () => ({
      transactions: [],
      blocked: [{ key: 'k', detail: 'eu-west-1 and us-east-1 disagree' }],
    });
    expect((await repair(edge, { keys: ['k'] })).status).toBe(409);
    expect((await repair(edge, { keys: ['k'], source: 'us-east-1' })).status).toBe(202);
    const keys = [{ key: 'k', regions: ['eu-west-1', 'ap-northeast-1'] }];
    expect(orders).toEqual([{ kind: 'repair', source: 'us-east-1', keys }]);
  });

  it('returns the coordinator’s detail if the coordinator refuses it', async () => {
    const { edge } = edgeOver(differing);
    edge.coordinator.order = async () => ({ kind: 'refused', detail: 'Too few would vote.' });
    const response = await repair(edge, { keys: ['k'] });
    expect([response.status, response.json.detail]).toEqual([409, 'Too few would vote.']);
  });

  it('names the keys that were refused if only some were accepted', async () => {
    const voters: readonly string[] = regionIds;
    const other = (id: string, odd: number) => (voters.indexOf(id) === odd ? '2' : '1');
    const { edge } = edgeOver(
      Object.fromEntries(
        voters.map((id) => [id, { a: other(id, 0), b: other(id, 1), c: other(id, 2) }]),
      ),
    );
    const answers = [
      { kind: 'taken', detail: 'the first is copied' },
      { kind: 'refused', detail: 'too few would vote' },
    ] as const;
    const left = [...answers];
    edge.coordinator.order = async () => left.shift() ?? answers[1];
    const response = await repair(edge, { keys: ['a', 'b', 'c'] });
    expect(response.status).toBe(202);
    expect(response.json.detail).toBe(
      'the first is copied. Not accepted for "b", "c": too few would vote. Retry with these keys.',
    );
  });

  it.each([[{ keys: [] }], [{}], [{ keys: ['k'], all: true }], [{ keys: [7] }]])(
    'with the body %j gets 400',
    async (body) => {
      expect((await repair(edgeOver(equal).edge, body)).status).toBe(400);
    },
  );
});
