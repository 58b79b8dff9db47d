/** Tests which token may see and change which part of a webhook. */
import { describe, expect, it } from 'vitest';
import type { DeliveryDetail } from '../../shared/contracts/webhooks-and-feed.ts';
import { problemOf, tokens } from './fakes.ts';
import { changesIn, edgeWith, endpoint, now, subscription } from './webhook-fixtures.ts';

describe('the response about a webhook', () => {
  const url = 'https://hooks.example.com/T0/B0/secret-path?key=hidden';
  const foreign = { ...subscription, url, owner: 'somebody' };
  const path = `/v1/webhooks/${endpoint}`;
  const detail: DeliveryDetail = {
    event: 'e1',
    type: 'write.confirmed',
    state: 'delivered',
    attempts: 1,
    status: 200,
    ms: 1,
    answer: 'private answer',
    at: now,
    lastAttemptAt: now,
    nextAttemptAt: null,
    body: '{"type":"write.confirmed","data":{"keys":["private key"]}}',
    history: [{ at: now, status: 200, ms: 1, answer: 'private answer' }],
  };

  it.each([
    ['read', false],
    ['write', false],
    ['admin', true],
  ] as const)(
    'contains secrets of another token’s webhook only for the scope admin: %s',
    async (scope, isWhole) => {
      const edge = edgeWith([foreign]);
      edge.courier.deliveries = async () => ({ deliveries: [detail], before: null });
      edge.courier.delivery = async () => detail;
      const question = { token: tokens[scope] };
      for (const asked of ['/v1/webhooks', path]) {
        const response = await edge.ask('GET', asked, question);
        expect(response.text.includes('secret-path')).toBe(isWhole);
        expect(response.text.includes('hidden')).toBe(isWhole);
        expect(response.text).toContain('https://hooks.example.com/');
      }
      const deliveries = await edge.ask('GET', `${path}/deliveries`, question);
      const delivery = await edge.ask('GET', `${path}/deliveries/e1`, question);
      expect([deliveries.status, delivery.status]).toEqual([200, 200]);
      for (const { text } of [deliveries, delivery]) expect(text.includes('private')).toBe(isWhole);
    },
  );

  it('contains everything for its owner, even the payload of each delivery', async () => {
    const edge = edgeWith([{ ...foreign, owner: 'writer' }]);
    edge.courier.delivery = async () => detail;
    expect((await edge.ask('GET', path)).json.url).toBe(url);
    const response = await edge.ask('GET', `${path}/deliveries/e1`);
    const at = new Date(now).toISOString();
    expect(response.json).toMatchObject({
      payload: detail.body,
      history: [{ at, status: 200, ms: 1, answer: 'private answer' }],
    });
  });

  it('to a replay distinguishes an unknown event from one that waits already', async () => {
    const edge = edgeWith([{ ...foreign, owner: 'writer' }]);
    edge.courier.replay = async () => 0;
    edge.courier.delivery = async () => null;
    const ask = () => edge.ask('POST', `${path}/replay`, { body: { event: 'e1' } });
    const unknown = await ask();
    expect([unknown.status, problemOf(unknown)]).toEqual([404, 'delivery-unknown']);
    edge.courier.delivery = async () => ({ ...detail, state: 'waiting' });
    const known = await ask();
    expect([known.status, known.json]).toEqual([200, { replayed: 0, recovered: 0 }]);
  });

  it('contains only the origin for the scope read, even for the token that created it', async () => {
    const edge = edgeWith([{ ...foreign, owner: 'reader' }]);
    const response = await edge.ask('GET', path, { token: tokens.read });
    expect(response.json.url).toBe('https://hooks.example.com/…');
  });

  it.each([
    ['PATCH', '', { values: true }],
    ['DELETE', '', undefined],
    ['POST', '/test', {}],
    ['POST', '/rotate', {}],
    ['POST', '/enable', {}],
    ['POST', '/replay', { since: 0 }],
  ])('is refused together with its change for another token: %s %s', async (method, rest, body) => {
    const edge = edgeWith([foreign]);
    const response = await edge.ask(method, `${path}${rest}`, { body });
    expect([response.status, problemOf(response)]).toEqual([403, 'forbidden']);
    expect(changesIn(edge)).toEqual([]);
    const operator = await edge.ask(method, `${path}${rest}`, { body, token: tokens.admin });
    expect(operator.status).toBeLessThan(300);
  });

  it('is 404 for a delivery that is not kept', async () => {
    const edge = edgeWith();
    edge.courier.delivery = async () => null;
    const response = await edge.ask('GET', `${path}/deliveries/e1`);
    expect([response.status, problemOf(response)]).toEqual([404, 'delivery-unknown']);
  });
});
