/** Tests the admin routes against a fake coordinator. test/e2e/admin.test.ts runs the orders on a stack. */
import { describe, expect, it } from 'vitest';
import type {
  AdminCommand,
  AdminCommandAnswer,
  MemberChange,
} from '../../shared/contracts/members.ts';
import type { InspectionResult } from '../../shared/contracts/round.ts';
import {
  configuration,
  type EdgeResponse,
  EdgeUnderTest,
  problemOf,
  type Question,
  statusWith,
  tokens,
} from './fakes.ts';

const none: InspectionResult = { kind: 'inspected', keys: [], cursor: null, more: false };
const secret = 'a-token-that-nobody-sees';
const added = {
  id: 'sa-east-1',
  url: 'https://sae1.example.com/path',
  token: secret,
  location: [-23.5, -46.6],
};

function ask(edge: EdgeUnderTest, method: string, path: string, more: Question = {}) {
  return edge.ask(method, `/v1/admin/${path}`, { token: tokens.admin, ...more });
}

/** An edge whose coordinator accepts or refuses every order, and the orders that it got. */
function edgeOrdering(answer: AdminCommandAnswer = { kind: 'taken', detail: 'So be it.' }) {
  const edge = new EdgeUnderTest();
  const orders: AdminCommand[] = [];
  edge.coordinator.order = async (order) => {
    orders.push(order);
    return answer;
  };
  return { edge, orders };
}

describe('an admin request', () => {
  it.each([
    ['GET', 'regions'],
    ['POST', 'regions'],
    ['DELETE', 'regions/eu-west-1'],
    ['POST', 'regions/eu-west-1/out'],
    ['POST', 'regions/eu-west-1/return'],
    ['POST', 'regions/eu-west-1/force-recover'],
    ['POST', 'regions/eu-west-1/believe'],
    ['GET', 'members'],
    ['GET', 'in-doubt'],
    ['POST', 'in-doubt/settle'],
    ['POST', 'verify'],
    ['POST', 'repair'],
    ['GET', 'doctor'],
  ])('%s %s needs the scope admin, and calls no object without it', async (method, path) => {
    const edge = new EdgeUnderTest();
    for (const [token, status] of [
      [tokens.write, 403],
      [tokens.read, 403],
      [null, 401],
    ] as const) {
      expect((await ask(edge, method, path, { token })).status).toBe(status);
    }
    const inQuery = await ask(edge, method, `${path}?_token=${tokens.admin}`, { token: null });
    expect(inQuery.status).toBe(401);
    expect(edge.calls).toEqual([]);
  });
});

describe('the list of regions for operators', () => {
  it('contains the whole status of the coordinator, and no token', async () => {
    const describe = async () =>
      statusWith({
        'eu-west-1': {
          state: 'copying',
          cause: 'lost',
          since: 1_795_000_000_000,
          circuit: 'half-open',
          missedKeys: null,
          oldestUnacknowledgedMs: 12,
          leaseMs: 0,
          copy: {
            whole: true,
            source: 'us-east-1',
            phase: 'keys',
            startedAt: 1_795_000_000_000,
            done: 10,
            left: 90,
            keysPerSecond: 33.333,
            etaMs: 2_700,
          },
        },
      });
    const response = await ask(new EdgeUnderTest({ describe }), 'GET', 'regions');
    expect(response.json.regions).toMatchObject([
      { id: 'us-east-1', state: 'voter', circuit: 'closed', held: false, leaseMs: 4_000 },
      {
        id: 'eu-west-1',
        host: 'euw1.example.com',
        state: 'copying',
        cause: 'lost',
        since: '2026-11-18T11:06:40.000Z',
        circuit: 'half-open',
        oldestUnacknowledgedMs: 12,
        missedKeys: null,
        copy: { whole: true, done: 10, left: 90, keysPerSecond: 33.3, etaMs: 2_700 },
      },
      {},
    ]);
    const coordinator = { epoch: 1, minVoters: 2, held: false, blockedKeys: 0 };
    expect(response.json.coordinators).toMatchObject([coordinator]);
    for (const { token } of configuration.regions)
      expect(response.text).not.toContain(`"${token}"`);
    expect(response.text).not.toContain('/secret');
  });

  it('contains removed regions until they stop voting', async () => {
    const edge = new EdgeUnderTest();
    const { regions } = configuration;
    edge.coordinator.regions = async () => regions.filter(({ id }) => id !== 'eu-west-1');
    edge.coordinator.describe = async () => statusWith({});
    const response = await ask(edge, 'GET', 'regions');
    const leaving = { id: 'eu-west-1', state: 'voter', host: null, location: null };
    expect(response.json.regions).toContainEqual(expect.objectContaining(leaving));
    expect(response.json.regions).toHaveLength(regions.length);
  });

  it('is returned even if the coordinator does not answer', async () => {
    const describe = () => Promise.reject(new Error('the object was reset'));
    const response = await ask(new EdgeUnderTest({ describe }), 'GET', 'regions');
    expect(response.json).toMatchObject({ regions: [{ circuit: 'unknown' }, {}, {}] });
  });
});

describe('an order', () => {
  it.each([
    ['DELETE', 'regions/eu-west-1', undefined, { kind: 'remove' }],
    [
      'POST',
      'regions/eu-west-1/out',
      { reason: 'repairs' },
      { kind: 'put-out', reason: 'repairs' },
    ],
    ['POST', 'regions/eu-west-1/out', undefined, { kind: 'put-out', reason: '' }],
    ['POST', 'regions/eu-west-1/return', undefined, { whole: false, force: false }],
    ['POST', 'regions/eu-west-1/return', { whole: true }, { kind: 'return', whole: true }],
    ['POST', 'regions/eu-west-1/force-recover', { confirm: 'eu-west-1' }, { kind: 'believe' }],
    ['POST', 'regions/eu-west-1/believe', { confirm: 'eu-west-1' }, { kind: 'believe' }],
  ])(
    '%s %s goes to the coordinator, and returns 202 with the coordinator’s detail',
    async (...order) => {
      const [method, path, body, expected] = order;
      const { edge, orders } = edgeOrdering();
      const response = await ask(edge, method, path, { body });
      expect([response.status, response.json]).toEqual([202, { detail: 'So be it.' }]);
      expect(orders).toMatchObject([{ region: 'eu-west-1', ...expected }]);
    },
  );

  it('returns 409 with the coordinator’s detail if the coordinator refuses it', async () => {
    const { edge } = edgeOrdering({ kind: 'refused', detail: 'It is the last voter.' });
    const response = await ask(edge, 'POST', 'regions/eu-west-1/out');
    expect([response.status, problemOf(response)]).toEqual([409, 'order-refused']);
    expect(response.json.detail).toBe('It is the last voter.');
  });

  it('returns 404 with the known regions if its region does not exist', async () => {
    const { edge } = edgeOrdering({ kind: 'unknown-region', detail: 'The regions are a, b.' });
    const response = await ask(edge, 'POST', 'regions/mars/out');
    expect([response.status, problemOf(response)]).toEqual([404, 'region-unknown']);
    expect(response.json.detail).toBe('The regions are a, b.');
  });

  it('returns an unknown outcome if the coordinator does not answer, and is sent only once', async () => {
    const edge = new EdgeUnderTest();
    edge.coordinator.order = () => Promise.reject(new Error('the object was reset'));
    const response = await ask(edge, 'DELETE', 'regions/eu-west-1');
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(response.json.detail).toMatch(/unknown.*\/v1\/admin\/regions/);
    expect(edge.calls).toHaveLength(1);
  });

  it.each([
    ['force-recover', { confirm: 'us-east-1' }],
    ['force-recover', {}],
    ['force-recover', undefined],
    ['out', { reason: 7 }],
    ['return', { whole: 'yes' }],
    ['return', { everything: true }],
  ])('%s with the body %j is refused before the coordinator', async (order, body) => {
    const { edge, orders } = edgeOrdering();
    const response = await ask(edge, 'POST', `regions/eu-west-1/${order}`, { body });
    expect([400, 415]).toContain(response.status);
    expect(orders).toEqual([]);
  });

  it('to settle names the transaction', async () => {
    const { edge, orders } = edgeOrdering();
    const body = { transaction: '0.3.17' };
    expect((await ask(edge, 'POST', 'in-doubt/settle', { body })).status).toBe(202);
    expect(orders).toEqual([{ kind: 'settle', transaction: [3, 17] }]);
  });

  it.each(['3.17', '0.3.17.1', 'x', '', '1.3.17'])(
    'to settle the transaction %j is refused',
    async (transaction) => {
      const { edge, orders } = edgeOrdering();
      const response = await ask(edge, 'POST', 'in-doubt/settle', { body: { transaction } });
      expect([response.status, orders]).toEqual([400, []]);
    },
  );
});

describe('a new region', () => {
  it('goes to the coordinator with its token, which no response contains', async () => {
    const { edge } = edgeOrdering();
    const response = await ask(edge, 'POST', 'regions', { body: added });
    expect(response.status).toBe(202);
    const order = { kind: 'add', region: added.id, replace: 0 };
    expect(edge.calls).toEqual([['coordinator', 'order', order, added]]);
    expect(response.text).not.toContain(secret);
  });

  it.each([
    ['an id of another form', { id: 'South America' }, 400],
    ['an address that is not https', { url: 'http://sae1.example.com' }, 400],
    ['an address with a password', { url: 'https://a:b@sae1.example.com' }, 400],
    ['no token', { token: '' }, 400],
    ['coordinates outside the globe', { location: [91, 0] }, 400],
    ['an unknown member', { role: 'leader' }, 400],
    ['an id that is in use', { id: 'eu-west-1' }, 409],
    ['the URL of another region', { url: 'https://EUW1.example.com/' }, 409],
  ])(
    'with %s is refused, and its token is not in the response',
    async (_fault, changes, status) => {
      const { edge, orders } = edgeOrdering();
      const body = { ...added, ...changes };
      const response: EdgeResponse = await ask(edge, 'POST', 'regions', { body });
      expect([response.status, orders]).toEqual([status, []]);
      expect(response.text).not.toContain(secret);
    },
  );
});

describe('the history of members', () => {
  const change = (sequence: number): MemberChange => ({
    sequence,
    at: 1_795_000_000_000,
    epoch: sequence,
    region: 'eu-west-1',
    event: 'out',
    cause: 'silent',
    detail: 'no answer for 3 s',
  });

  it('returns pages, the newest first', async () => {
    const edge = new EdgeUnderTest();
    const asked: unknown[] = [];
    edge.coordinator.history = async (before, limit) => {
      asked.push([before, limit]);
      return [change(9), change(7)];
    };
    const first = await ask(edge, 'GET', 'members?limit=2');
    const member = { region: 'eu-west-1', event: 'out', epoch: 9, cause: 'silent' };
    expect(first.json).toMatchObject({ members: [{ sequence: 9, member }, {}], before: 7 });
    const last = await ask(edge, 'GET', 'members?limit=3&before=7');
    expect(last.json.before).toBeNull();
    expect(asked).toEqual([
      [null, 2],
      [7, 3],
    ]);
  });

  it.each(['limit=0', 'limit=101', 'before=-1', 'before=x', 'after=1'])(
    'refuses the query %s',
    async (query) => {
      const response = await ask(new EdgeUnderTest(), 'GET', `members?${query}`);
      expect(response.status).toBe(400);
    },
  );
});

describe('the list of in-doubt transactions', () => {
  const open = {
    transaction: '0.1.4',
    state: 'committing',
    keys: ['k'],
    ageMs: 40,
    waitsFor: ['eu-west-1'],
  } as const;

  function edgeInDoubt(locks: Readonly<Record<string, InspectionResult>>) {
    const edge = new EdgeUnderTest();
    const resolved: unknown[] = [];
    edge.coordinator.resolve = async (transactions) => {
      resolved.push(...transactions);
      return transactions.map((transaction) => ({ kind: 'committed', transaction, keys: ['k'] }));
    };
    edge.coordinator.inDoubt = async () => ({
      transactions: [open],
      blocked: [{ key: 'b', detail: 'eu-west-1 and us-east-1 disagree' }],
    });
    edge.inspect = (region) => locks[region] ?? none;
    return { edge, resolved };
  }

  function holding(key: string, holder: readonly [number, number]): InspectionResult {
    return { kind: 'inspected', keys: [{ key, digest: '', holder }], cursor: null, more: false };
  }

  it('contains every lock with its holder, its resolution, and its age', async () => {
    const { edge } = edgeInDoubt({ 'eu-west-1': holding('k', [1, 4]) });
    const response = await ask(edge, 'GET', 'in-doubt');
    expect(response.json).toEqual({
      transactions: [open],
      blocked: [{ key: 'b', detail: 'eu-west-1 and us-east-1 disagree' }],
      locks: [
        {
          region: 'eu-west-1',
          key: 'k',
          transaction: '0.1.4',
          resolution: 'committed',
          ageMs: 40,
        },
      ],
      truncated: [],
      faults: [],
    });
  });

  it('names the regions that did not answer or hold more locks', async () => {
    const more = { ...holding('k', [1, 4]), more: true } as InspectionResult;
    const silent = { kind: 'silent', reason: 'no answer in time' } as const;
    const { edge } = edgeInDoubt({ 'eu-west-1': silent, 'us-east-1': more });
    expect((await ask(edge, 'GET', 'in-doubt')).json).toMatchObject({
      truncated: ['us-east-1'],
      faults: [{ region: 'eu-west-1', reason: 'no answer in time' }],
    });
  });

  it('calls the coordinator for no holder of a later incarnation', async () => {
    const { edge, resolved } = edgeInDoubt({ 'eu-west-1': holding('k', [9, 4]) });
    const response = await ask(edge, 'GET', 'in-doubt');
    expect(response.json.locks).toMatchObject([{ transaction: '0.9.4', resolution: 'unknown' }]);
    expect(resolved).toEqual([]);
  });

  it('encodes keys that are not valid UTF-8 in base64', async () => {
    const { edge } = edgeInDoubt({ 'eu-west-1': holding('\u00ff', [1, 4]) });
    const response = await ask(edge, 'GET', 'in-doubt');
    expect(response.json.locks).toMatchObject([{ key: '/w==', keyEncoding: 'base64' }]);
  });
});
