/** Tests Idempotency-Keys of requests other than writes. */
import { describe, expect, it } from 'vitest';
import { RequestStorage } from '../../functions/coordinator/storage/request-storage.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { type EdgeUnderTest, problemOf, tokens } from './fakes.ts';
import { changesIn, edgeWith, endpoint } from './webhook-fixtures.ts';

/** An edge whose coordinator stores requests like the real one. */
function edgeThatKeeps(): EdgeUnderTest {
  const edge = edgeWith();
  const storage = new RequestStorage(new MemoryStorage());
  storage.begin();
  edge.coordinator = {
    ...edge.coordinator,
    beginRequest: async (request) => storage.beginRequest(request, edge.now),
    endRequest: async (request, end) => storage.endRequest(request, end, edge.now),
    order: async () => ({ kind: 'taken', detail: 'It is taken.' }),
  };
  return edge;
}

/** The changes that the edge made, except those to requests under their keys. */
function done(edge: EdgeUnderTest) {
  return changesIn(edge).filter(([, method]) => !/^(begin|end)Request$/.test(method));
}

const body = { url: 'https://example.com/hooks' };
const keyed = { headers: { 'Idempotency-Key': 'once' } };
const operator = { token: tokens.admin };
const url = 'https://eu-north-1.example.com';
const region = { id: 'eu-north-1', url, token: 't', location: [1, 2] };

describe('a request with an Idempotency-Key', () => {
  it.each([
    ['/v1/webhooks', body, {}],
    [`/v1/webhooks/${endpoint}/test`, {}, {}],
    [`/v1/webhooks/${endpoint}/rotate`, {}, {}],
    [`/v1/webhooks/${endpoint}/enable`, undefined, {}],
    [`/v1/webhooks/${endpoint}/replay`, { since: 0 }, {}],
    ['/v1/admin/regions', region, operator],
    ['/v1/admin/regions/us-east-1/out', {}, operator],
    ['/v1/admin/regions/us-east-1/return', {}, operator],
    ['/v1/admin/regions/us-east-1/force-recover', { confirm: 'us-east-1' }, operator],
    ['/v1/admin/in-doubt/settle', { transaction: '0.1.1' }, operator],
  ])('runs once, and returns the same response again: POST %s', async (path, sent, who) => {
    const edge = edgeThatKeeps();
    const question = { ...keyed, ...who, body: sent };
    const first = await edge.ask('POST', path, question);
    expect(first.status).toBeLessThan(300);
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    const calls = done(edge).length;
    expect(calls).toBeGreaterThan(0);
    const second = await edge.ask('POST', path, question);
    expect(done(edge)).toHaveLength(calls);
    expect([second.status, second.text]).toEqual([first.status, first.text]);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    for (const name of ['location', 'content-type', 'idempotency-kept-until']) {
      expect(second.headers.get(name)).toBe(first.headers.get(name));
    }
    expect(first.headers.get('idempotency-kept-until')).toMatch(/^\d{4}-.*Z$/);
  });

  it('is refused with 422 if its key came with another body or address', async () => {
    const edge = edgeThatKeeps();
    await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    const calls = done(edge).length;
    const others = [
      ['/v1/webhooks', { ...body, values: true }],
      [`/v1/webhooks/${endpoint}/test`, body],
    ] as const;
    for (const [path, other] of others) {
      const response = await edge.ask('POST', path, { ...keyed, body: other });
      expect([response.status, problemOf(response)]).toEqual([422, 'idempotency-key-reused']);
    }
    expect(done(edge)).toHaveLength(calls);
  });

  it('belongs to its token', async () => {
    const edge = edgeThatKeeps();
    const one = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    const other = await edge.ask('POST', '/v1/webhooks', { ...keyed, ...operator, body });
    expect(other.status).toBe(201);
    expect(other.json.id).not.toBe(one.json.id);
  });

  it('creates the same id and secret again after an interruption', async () => {
    const edge = edgeThatKeeps();
    const { subscribe } = edge.coordinator;
    edge.coordinator.subscribe = () => Promise.reject(new Error('the object was reset'));
    const lost = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    expect([lost.status, problemOf(lost)]).toEqual([503, 'coordinator-unavailable']);
    edge.coordinator = { ...edge.coordinator, ...(subscribe && { subscribe }) };
    const made = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    expect(made.status).toBe(201);
    const targets = done(edge).filter(([, method]) => method === 'configure');
    const [first, second] = targets.map(([, , target]) => target);
    expect(targets).toHaveLength(2);
    expect(second).toEqual(first);
    expect(second).toMatchObject({ endpoint: made.json.id, secret: made.json.secret });
  });

  it('leaves its key free if it is refused', async () => {
    const edge = edgeThatKeeps();
    const refused = await edge.ask('POST', '/v1/webhooks', { ...keyed, body: { url: 'hooks' } });
    expect(refused.status).toBe(422);
    expect(refused.headers.get('idempotency-kept-until')).toBeNull();
    expect((await edge.ask('POST', '/v1/webhooks', { ...keyed, body })).status).toBe(201);
  });

  it('gets 409 while the first one is running', async () => {
    const edge = edgeThatKeeps();
    edge.coordinator.beginRequest = async () => ({ kind: 'underway' });
    const response = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    expect([response.status, problemOf(response)]).toEqual([409, 'idempotency-key-in-use']);
    expect(response.headers.get('retry-after')).toBe('1');
  });

  it('gets 429 if its key has no room and 503 if the coordinator does not answer, and does nothing', async () => {
    const edge = edgeThatKeeps();
    edge.coordinator.beginRequest = async () => ({ kind: 'full' });
    const full = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    expect([full.status, problemOf(full)]).toEqual([429, 'too-many-keys']);
    edge.coordinator.beginRequest = () => Promise.reject(new Error('the object was reset'));
    const lost = await edge.ask('POST', '/v1/webhooks', { ...keyed, body });
    expect(lost.status).toBe(503);
    expect(done(edge)).toEqual([]);
  });

  it('is refused with an invalid key, and with a token of a lesser scope', async () => {
    const edge = edgeThatKeeps();
    const headers = { 'Idempotency-Key': 'k'.repeat(256) };
    expect((await edge.ask('POST', '/v1/webhooks', { headers, body })).status).toBe(400);
    const reader = { ...keyed, body, token: tokens.read };
    expect((await edge.ask('POST', '/v1/webhooks', reader)).status).toBe(403);
    expect(edge.calls).toEqual([]);
  });
});
