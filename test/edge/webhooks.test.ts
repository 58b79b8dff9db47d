/** Tests the routes of webhooks against fake couriers and a fake coordinator. */
import { describe, expect, it } from 'vitest';
import { UnfitVersion } from '../../shared/contracts/rpc.ts';
import {
  type DeliveryRecord,
  type EventType,
  eventTypes,
  type Handover,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { eventSchemas } from '../../shared/webhooks/event-schemas.ts';
import { isSecret } from '../../shared/webhooks/signature.ts';
import { problemOf, tokens } from './fakes.ts';
import {
  callbackEndpoint,
  changesIn,
  edgeWith,
  endpoint,
  now,
  secret,
  signingKey,
  subscription,
} from './webhook-fixtures.ts';

describe('a new webhook', () => {
  it('accepts the events of regions', async () => {
    const edge = edgeWith();
    const events = ['region.out', 'region.returned', 'region.diverged'];
    const body = { url: 'https://example.com/hooks', events };
    const response = await edge.ask('POST', '/v1/webhooks', { body });
    expect([response.status, response.json.events]).toEqual([201, events]);
  });

  it('goes to its courier first, then to the coordinator, and returns its secret', async () => {
    const edge = edgeWith();
    const body = { url: 'https://EXAMPLE.com/hooks', prefixes: ['order:'], secret };
    const response = await edge.ask('POST', '/v1/webhooks', { body });
    expect(response.status).toBe(201);
    const id = String(response.json.id);
    expect(id).toMatch(/^ep_[0-9a-f]{32}$/);
    expect(response.headers.get('location')).toBe(`/v1/webhooks/${id}`);
    expect(response.json).toEqual({
      id,
      url: 'https://example.com/hooks',
      events: [
        ...['write.committed', 'write.confirmed', 'write.aborted', 'endpoint.disabled'],
        ...['region.out', 'region.returned', 'region.diverged'],
      ],
      prefixes: ['order:'],
      values: false,
      description: '',
      disabled: null,
      createdAt: new Date(now).toISOString(),
      secret,
    });
    const [configured, subscribed] = changesIn(edge);
    const url = 'https://example.com/hooks';
    expect(configured).toEqual([id, 'configure', { endpoint: id, url, secret, signingKey }]);
    expect(subscribed).toMatchObject(['coordinator', 'subscribe', { endpoint: id, url }]);
    expect(JSON.stringify(subscribed)).not.toContain(secret);
  });

  it('gets a generated secret if the request has none', async () => {
    const edge = edgeWith();
    const one = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    const other = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect(isSecret(String(one.json.secret))).toBe(true);
    expect(other.json.secret).not.toBe(one.json.secret);
    expect(other.json.id).not.toBe(one.json.id);
  });

  it('is refused with 409 above the limit, and removed from its courier', async () => {
    const edge = edgeWith();
    edge.coordinator.subscribe = async () => ({ kind: 'full', detail: 'There are 3 already.' });
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect([response.status, problemOf(response)]).toEqual([409, 'too-many-webhooks']);
    expect(changesIn(edge).map(([, method]) => method)).toEqual([
      'configure',
      'subscribe',
      'remove',
    ]);
  });

  it('returns the existing webhook of its token, and is removed from its courier', async () => {
    const edge = edgeWith();
    edge.coordinator.subscribe = async () => ({ kind: 'known', subscription });
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect([response.status, response.json.id, response.json.secret]).toEqual([
      200,
      endpoint,
      undefined,
    ]);
    expect(response.headers.get('location')).toBe(`/v1/webhooks/${endpoint}`);
    const methods = changesIn(edge).map(([, method]) => method);
    expect(methods).toEqual(['configure', 'subscribe', 'remove']);
  });

  it('returns 503 if the courier does not answer, and is not subscribed', async () => {
    const edge = edgeWith();
    edge.courier.configure = () => Promise.reject(new Error('the object was reset'));
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect([response.status, problemOf(response)]).toEqual([503, 'courier-unavailable']);
    expect(response.text).not.toContain('the object was reset');
    expect(changesIn(edge).map(([, method]) => method)).toEqual(['configure']);
  });

  it('returns 503 with the reason if the courier is of another release', async () => {
    const edge = edgeWith();
    edge.courier.configure = () => Promise.reject(new UnfitVersion('the storage has format 99'));
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect([response.status, problemOf(response)]).toEqual([503, 'version-unknown']);
    expect(response.text).toContain('the storage has format 99');
  });

  it('returns 503 if the coordinator is reset during the call, and is not subscribed twice', async () => {
    const edge = edgeWith();
    edge.coordinator.subscribe = () => Promise.reject(new Error('the object was reset'));
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url: subscription.url } });
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(changesIn(edge).filter(([, method]) => method === 'subscribe')).toHaveLength(1);
  });

  it.each([
    ['plain http', 'http://example.com/'],
    ['an address of this machine', 'https://127.0.0.1/'],
    ['this machine as a number', 'https://2130706433/'],
    ['the metadata of a cloud', 'http://169.254.169.254/latest'],
    ['a private network', 'https://10.0.0.8/'],
    ['credentials', 'https://user:hidden@example.com/'],
    ['another scheme', 'file:///etc/passwd'],
    ['a configured host of Lockstep', 'https://lockstep.example.com/incr/k?_token=t'],
    ['the host of the request', 'http://localhost/incr/k?_token=t'],
    ['no address', 'hooks'],
  ])('is refused with %s as its target', async (_fault, url) => {
    const edge = edgeWith();
    const response = await edge.ask('POST', '/v1/webhooks', { body: { url } });
    expect([response.status, problemOf(response)]).toEqual([422, 'target-refused']);
    expect(response.text).not.toContain('hidden');
    expect(edge.calls).toEqual([]);
  });

  it('may call this machine in development', async () => {
    const edge = edgeWith();
    edge.allowLoopback = true;
    const body = { url: 'http://127.0.0.1:9000/hooks' };
    expect((await edge.ask('POST', '/v1/webhooks', { body })).status).toBe(201);
  });

  it.each([
    ['no address', {}],
    ['a long address', { url: `https://example.com/${'a'.repeat(3_000)}` }],
    ['an unknown event', { url: subscription.url, events: ['write.imagined'] }],
    ['no events', { url: subscription.url, events: [] }],
    ['an empty prefix', { url: subscription.url, prefixes: [''] }],
    ['many prefixes', { url: subscription.url, prefixes: Array(33).fill('a') }],
    ['a short secret', { url: subscription.url, secret: `whsec_${btoa('short')}` }],
    ['a secret of another kind', { url: subscription.url, secret: 'sk_live' }],
    ['an unknown member', { url: subscription.url, endpoint }],
    ['a state', { url: subscription.url, disabled: null }],
  ])('with %s gets 400', async (_fault, body) => {
    const edge = edgeWith();
    const response = await edge.ask('POST', '/v1/webhooks', { body });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    expect(edge.calls).toEqual([]);
  });

  it('does not get its secret back in a problem', async () => {
    const wrong = `${secret}!`;
    const body = { url: subscription.url, secret: wrong };
    const response = await edgeWith().ask('POST', '/v1/webhooks', { body });
    expect(response.status).toBe(400);
    expect(response.text).not.toContain(secret);
  });
});

describe('a delivery whose target is Lockstep', () => {
  it.each(['/v1/webhooks', '/incr/k', '/healthz'])('is refused at %s', async (path) => {
    const edge = edgeWith();
    const headers = { 'Lockstep-Webhook': '1' };
    const response = await edge.ask('POST', path, { headers, body: {} });
    expect([response.status, problemOf(response)]).toEqual([508, 'webhook-loop']);
    expect(edge.calls).toEqual([]);
  });
});

describe('the webhooks', () => {
  it('are listed for the scope read, without their secrets', async () => {
    const kept = { ...subscription, disabled: { at: now, reason: 'gone' }, secret };
    const response = await edgeWith([kept]).ask('GET', '/v1/webhooks', { token: tokens.read });
    expect(response.status).toBe(200);
    expect(response.text).not.toContain('whsec_');
    expect(response.json.webhooks).toMatchObject([
      { id: endpoint, disabled: { at: new Date(now).toISOString(), reason: 'gone' } },
    ]);
  });

  it('can be read one by one', async () => {
    const response = await edgeWith().ask('GET', `/v1/webhooks/${endpoint}`, {
      token: tokens.read,
    });
    expect([response.status, response.json.id]).toEqual([200, endpoint]);
  });

  it.each([
    ['GET', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['POST', '/test'],
    ['POST', '/rotate'],
    ['POST', '/enable'],
    ['POST', '/replay'],
    ['GET', '/deliveries'],
  ])('return 404 for %s %s if they do not exist', async (method, rest) => {
    const body = rest === '/replay' ? { since: 0 } : {};
    const question = method === 'PATCH' || method === 'POST' ? { body } : {};
    const stranger = endpoint.replace('01990a5c', 'ffffffff');
    const idle = ['coordinator', '..%2Fshard-0', `${endpoint}x`, 'cb_short', stranger];
    for (const id of idle) {
      const edge = edgeWith();
      const response = await edge.ask(method, `/v1/webhooks/${id}${rest}`, question);
      expect([response.status, problemOf(response)]).toEqual([404, 'webhook-unknown']);
      // No text of a client may become the name of an object; a DELETE removes leftovers of a crash.
      const touched = changesIn(edge).map(([object, call]) => `${object} ${call}`);
      const isDeletion = method === 'DELETE' && id === stranger;
      expect(touched).toEqual(isDeletion ? ['coordinator unsubscribe', `${stranger} remove`] : []);
    }
  });

  it('are changed member by member', async () => {
    const edge = edgeWith();
    const path = `/v1/webhooks/${endpoint}`;
    const response = await edge.ask('PATCH', path, { body: { values: true } });
    expect([response.status, response.json.values]).toEqual([200, true]);
    const patch = { url: subscription.url, values: true };
    expect(changesIn(edge)).toEqual([['coordinator', 'changeSubscription', endpoint, patch]]);
  });

  it('are counted before their target changes, and keep their secret', async () => {
    const edge = edgeWith();
    const url = 'https://example.org/';
    await edge.ask('PATCH', `/v1/webhooks/${endpoint}`, { body: { url } });
    expect(changesIn(edge)).toEqual([
      ['coordinator', 'changeSubscription', endpoint, { url }],
      [endpoint, 'configure', { endpoint, url, secret: null, signingKey }],
    ]);
  });

  it.each([
    [{ url: 'http://10.0.0.1/' }, 422],
    [{ disabled: null }, 400],
    [{ secret }, 400],
    [{ events: [] }, 400],
  ])('are not changed by %j', async (body, status) => {
    const edge = edgeWith();
    const response = await edge.ask('PATCH', `/v1/webhooks/${endpoint}`, { body });
    expect(response.status).toBe(status);
    expect(changesIn(edge)).toEqual([]);
  });

  it('are unsubscribed before their courier removes them when they are deleted', async () => {
    const edge = edgeWith();
    const response = await edge.ask('DELETE', `/v1/webhooks/${endpoint}`);
    expect([response.status, response.text]).toEqual([204, '']);
    expect(changesIn(edge)).toEqual([
      ['coordinator', 'unsubscribe', endpoint],
      [endpoint, 'remove'],
    ]);
  });
});

describe('a secret', () => {
  it('is replaced, overlaps for a day by default, and is returned once', async () => {
    const edge = edgeWith();
    const path = `/v1/webhooks/${endpoint}/rotate`;
    const response = await edge.ask('POST', path, { body: {} });
    expect([response.status, response.json.overlapMs]).toEqual([200, 86_400_000]);
    const given = await edge.ask('POST', path, { body: { secret, overlapMs: 0 } });
    expect(given.json).toEqual({ secret, overlapMs: 0 });
    expect(changesIn(edge)).toEqual([
      [endpoint, 'rotate', response.json.secret, 86_400_000],
      [endpoint, 'rotate', secret, 0],
    ]);
  });

  it('does not overlap for longer than the limit', async () => {
    const body = { overlapMs: 604_800_001 };
    const response = await edgeWith().ask('POST', `/v1/webhooks/${endpoint}/rotate`, { body });
    expect(response.status).toBe(400);
  });
});

/** The data of real events of each type. */
const aWrite = { id: expect.stringMatching(/^0-[0-9a-f-]{36}$/), keys: ['order:test'] };
const committed = { ...aWrite, transaction: '0.1.1', sequence: 1 };
const results = { commands: [['SET', 'order:test', 'value']], results: ['OK'] };
const aRegion = { region: 'us-east-1', sequence: 1, epoch: 1 };
const realData: Readonly<Record<EventType, unknown>> = {
  'write.committed': { ...committed, ...results },
  'write.confirmed': {
    ...committed,
    ...results,
    regions: { 'us-east-1': 40, 'eu-west-1': 80, 'ap-northeast-1': 120 },
  },
  'write.aborted': {
    ...aWrite,
    transaction: null,
    sequence: null,
    reason: 'a check did not hold',
  },
  'endpoint.disabled': { endpoint, reason: 'Every attempt of the last 5 days has failed.' },
  'region.out': { ...aRegion, cause: 'silent', detail: expect.any(String) },
  'region.returned': { ...aRegion, cause: null, detail: expect.any(String) },
  'region.diverged': { ...aRegion, cause: 'diverged', detail: expect.any(String) },
};

describe('a test event', () => {
  it('goes to the courier with an id that appears in its deliveries', async () => {
    const edge = edgeWith();
    const response = await edge.ask('POST', `/v1/webhooks/${endpoint}/test`);
    expect(response.status).toBe(202);
    const [delivered] = changesIn(edge);
    const event = { endpoint, id: response.json.event, type: 'write.confirmed', at: now };
    const handover = { target: null, signingKey, events: [event] };
    expect(delivered).toMatchObject([endpoint, 'deliver', endpoint, handover]);
    expect(JSON.stringify(delivered)).toContain('\\"test\\":true');
  });

  it.each(eventTypes)('of the type %s has the form of a real one', async (type) => {
    const edge = edgeWith([{ ...subscription, values: true }]);
    const response = await edge.ask('POST', `/v1/webhooks/${endpoint}/test`, { body: { type } });
    expect(response.status).toBe(202);
    const [, , , handover] = changesIn(edge)[0] ?? [];
    const [event] = (handover as Handover).events;
    const { data, ...rest }: { readonly data: Readonly<Record<string, unknown>> } = JSON.parse(
      event?.body ?? '',
    );
    expect(rest).toEqual({ type, timestamp: new Date(now).toISOString() });
    const { test, ...members } = data;
    expect(test).toBe(true);
    expect(members).toEqual(realData[type]);
    expect(eventSchemas[type].safeParse({ ...rest, data }).success).toBe(true);
  });

  it('of an unknown type gets 400', async () => {
    const body = { type: 'write.imagined' };
    const response = await edgeWith().ask('POST', `/v1/webhooks/${endpoint}/test`, { body });
    expect(response.status).toBe(400);
  });
});

describe('an endpoint', () => {
  it('is enabled at its courier and in the list', async () => {
    const edge = edgeWith();
    expect((await edge.ask('POST', `/v1/webhooks/${endpoint}/enable`)).status).toBe(204);
    expect(changesIn(edge)).toEqual([
      [endpoint, 'enable'],
      ['coordinator', 'changeSubscription', endpoint, { disabled: null }],
    ]);
  });

  it('of callbacks is enabled at its courier only', async () => {
    const edge = edgeWith();
    expect((await edge.ask('POST', `/v1/webhooks/${callbackEndpoint}/enable`)).status).toBe(204);
    expect(edge.calls).toEqual([[callbackEndpoint, 'enable']]);
  });

  it.each([endpoint, callbackEndpoint])('returns its deliveries in pages: %s', async (id) => {
    const edge = edgeWith();
    const record: DeliveryRecord = {
      event: 'e1',
      type: 'write.confirmed',
      state: 'failed',
      attempts: 2,
      status: 500,
      ms: 12,
      answer: 'no',
      lastAttemptAt: now,
      nextAttemptAt: null,
      at: now,
    };
    edge.courier.deliveries = async () => ({ deliveries: [record], before: 7 });
    const path = `/v1/webhooks/${id}/deliveries?state=failed&before=9&limit=1`;
    const response = await edge.ask('GET', path, { token: tokens.read });
    const at = new Date(now).toISOString();
    // The scope read does not show the receiver's answer.
    const shown = { ...record, answer: null, at, lastAttemptAt: at };
    expect([response.status, response.json]).toEqual([200, { deliveries: [shown], before: 7 }]);
    const own = await edge.ask('GET', path);
    expect(own.json.deliveries).toEqual([{ ...shown, answer: 'no' }]);
    const asked = { state: 'failed', before: 9, limit: 1 };
    const call = [id, 'deliveries', asked];
    expect(changesIn(edge)).toEqual([call, call]);
  });

  it.each(['state=lost', 'limit=0', 'limit=101', 'limit=ten', 'before=-1', 'page=2'])(
    'refuses deliveries?%s',
    async (query) => {
      const response = await edgeWith().ask('GET', `/v1/webhooks/${endpoint}/deliveries?${query}`);
      expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    },
  );

  it.each([
    [{ event: 'e1' }, { event: 'e1' }, 0],
    [{ since: 5 }, { since: 5, delivered: false }, 2],
    [
      { since: '2026-11-22T09:00:00+01:00', delivered: true },
      { since: Date.UTC(2026, 10, 22, 8), delivered: true },
      2,
    ],
  ])(
    'replays %j, and recovers events that were not queued since',
    async (body, what, recovered) => {
      const edge = edgeWith();
      const response = await edge.ask('POST', `/v1/webhooks/${endpoint}/replay`, { body });
      expect([response.status, response.json]).toEqual([200, { replayed: 3, recovered }]);
      expect(changesIn(edge)[0]).toEqual([endpoint, 'replay', what]);
    },
  );

  it.each([{}, { event: 'e1', since: 5 }, { since: 'yesterday' }, { since: -1 }, { event: '' }])(
    'refuses the replay %j',
    async (body) => {
      const edge = edgeWith();
      const response = await edge.ask('POST', `/v1/webhooks/${endpoint}/replay`, { body });
      expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
      expect(edge.calls).toEqual([]);
    },
  );
});

describe('the public keys', () => {
  it('are returned without a token, without the private half, and fetched once', async () => {
    const edge = edgeWith();
    const response = await edge.ask('GET', '/v1/webhooks/keys', { token: null });
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('public, max-age=300');
    const key = { kid: 'key-1', kty: 'OKP', crv: 'Ed25519', x: '-_8', publicKey: 'whpk_+/8=' };
    expect(response.json).toEqual({ keys: [key] });
    expect(response.text).not.toContain('private-half');
    await edge.ask('GET', '/v1/webhooks/keys', { token: null });
    expect(edge.calls).toEqual([['coordinator', 'signingKey']]);
  });

  it('return 503 while the coordinator does not answer, and 200 after that', async () => {
    const edge = edgeWith();
    edge.coordinator.signingKey = () => Promise.reject(new Error('the object was reset'));
    const failed = await edge.ask('GET', '/v1/webhooks/keys', { token: null });
    expect([failed.status, problemOf(failed)]).toEqual([503, 'coordinator-unavailable']);
    edge.coordinator.signingKey = async () => signingKey;
    expect((await edge.ask('GET', '/v1/webhooks/keys', { token: null })).status).toBe(200);
  });
});
