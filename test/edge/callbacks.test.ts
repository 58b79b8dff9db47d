/** Tests how the edge passes callbacks on to the coordinator. */
import { describe, expect, it } from 'vitest';
import { decided, EdgeUnderTest, problemOf } from './fakes.ts';

const secret = `whsec_${btoa('a'.repeat(32))}`;
const endpoint = 'cb_AbCdEfGhIjKlMnOpQrStUv';

function edgeThatCommits(): EdgeUnderTest {
  return new EdgeUnderTest({ write: async () => decided() });
}

describe('a callback', () => {
  const ops = [['SET', 'k', 'v']];
  const url = 'https://example.com/done';

  it('is sent with its write, for the confirmation and without values by default', async () => {
    const edge = edgeThatCommits();
    await edge.write({ ops, callback: { url, secret } });
    expect(edge.writes[0]?.callback).toEqual({
      endpoint: expect.stringMatching(/^cb_[A-Za-z0-9_-]{22}$/),
      url,
      secret,
      events: ['write.confirmed'],
      values: false,
    });
  });

  it('has the same endpoint for equal targets, and another for another secret', async () => {
    const edge = edgeThatCommits();
    const callbacks = [
      { url },
      { url: 'https://EXAMPLE.com/done', values: true, events: ['write.aborted'] },
      { url, secret },
      { url: `${url}/too` },
    ];
    for (const callback of callbacks) await edge.write({ ops, callback });
    const [one, same, ...others] = edge.writes.map(({ callback }) => callback?.endpoint);
    expect(same).toBe(one);
    expect(new Set([one, ...others]).size).toBe(3);
    expect(edge.writes[0]?.callback?.secret).toBeNull();
  });

  it('returns its endpoint with every response to its write, even with a problem', async () => {
    const committed = await edgeThatCommits().write({ ops, callback: { url, secret } });
    const id = committed.headers.get('lockstep-callback');
    expect(id).toMatch(/^cb_[A-Za-z0-9_-]{22}$/);
    const silent = new EdgeUnderTest({ write: () => Promise.reject(new Error('reset')) });
    const unknown = await silent.write({ ops, callback: { url, secret } });
    expect([unknown.status, unknown.headers.get('lockstep-callback')]).toEqual([503, id]);
    const plain = await edgeThatCommits().write({ ops });
    expect(plain.headers.has('lockstep-callback')).toBe(false);
  });

  it('changes the digest of a write with an idempotency key, except by its secret', async () => {
    const edge = edgeThatCommits();
    const key = { 'idempotency-key': 'order 7' };
    const callbacks = [
      undefined,
      { url },
      { url, secret },
      { url, values: true },
      { url, events: ['write.committed'] },
    ];
    for (const callback of callbacks) await edge.write({ ops, callback }, key);
    const digests = edge.writes.map(({ idempotency }) => idempotency?.digest);
    expect(digests[2]).toBe(digests[1]);
    expect(new Set(digests).size).toBe(4);
  });

  it('to an unsafe target is refused with 422, and nothing is written', async () => {
    const edge = edgeThatCommits();
    const response = await edge.write({ ops, callback: { url: 'http://169.254.169.254/' } });
    expect([response.status, problemOf(response)]).toEqual([422, 'target-refused']);
    expect(edge.writes).toEqual([]);
  });

  it.each([
    'https://example.com/',
    { url, events: ['endpoint.disabled'] },
    { url, events: [] },
    { url, secret: 'weak' },
    { url, endpoint },
    {},
  ])('of the form %j is refused with 400, and nothing is written', async (callback) => {
    const edge = edgeThatCommits();
    const response = await edge.write({ ops, callback });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
    expect(edge.writes).toEqual([]);
  });
});
