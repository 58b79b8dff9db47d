/** Tests that every route requires a token of its scope. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../functions/edge/http/authenticate.ts';
import { decided, EdgeUnderTest, problemOf, read, tokens } from './fakes.ts';

const write = { ops: [['SET', 'k', 'v']] };
const routes = [
  { method: 'POST', path: '/v1/writes', body: write, needs: 'write' },
  { method: 'PUT', path: '/v1/keys/k', body: { value: 'v' }, needs: 'write' },
  { method: 'DELETE', path: '/v1/keys/k', body: undefined, needs: 'write' },
  { method: 'POST', path: '/v1/reads', body: { reads: [['GET', 'k']] }, needs: 'read' },
  { method: 'GET', path: '/v1/regions', body: undefined, needs: 'read' },
  { method: 'GET', path: '/v1/writes/0', body: undefined, needs: 'read' },
  { method: 'GET', path: '/v1/changes', body: undefined, needs: 'read' },
  { method: 'GET', path: '/v1/webhooks', body: undefined, needs: 'read' },
  { method: 'POST', path: '/v1/webhooks', body: {}, needs: 'write' },
  { method: 'GET', path: '/v1/webhooks/ep_0', body: undefined, needs: 'read' },
  { method: 'PATCH', path: '/v1/webhooks/ep_0', body: {}, needs: 'write' },
  { method: 'DELETE', path: '/v1/webhooks/ep_0', body: undefined, needs: 'write' },
  { method: 'POST', path: '/v1/webhooks/ep_0/test', body: undefined, needs: 'write' },
  { method: 'POST', path: '/v1/webhooks/ep_0/rotate', body: {}, needs: 'write' },
  { method: 'POST', path: '/v1/webhooks/ep_0/enable', body: undefined, needs: 'write' },
  { method: 'POST', path: '/v1/webhooks/ep_0/replay', body: {}, needs: 'write' },
  { method: 'GET', path: '/v1/webhooks/ep_0/deliveries', body: undefined, needs: 'read' },
  { method: 'GET', path: '/v1/webhooks/ep_0/deliveries/e', body: undefined, needs: 'read' },
] as const;

function edge(): EdgeUnderTest {
  return new EdgeUnderTest({ write: async () => decided() }, { 'us-east-1': [read('["v"]')] });
}

describe('authentication', () => {
  it.each(routes)('refuses $method $path without a token', async ({ method, path, body }) => {
    const response = await edge().ask(method, path, { token: null, body });
    expect(response.status).toBe(401);
    expect(problemOf(response)).toBe('unauthenticated');
    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="lockstep"');
  });

  it.each(routes)('refuses $method $path with a wrong token', async ({ method, path, body }) => {
    const response = await edge().ask(method, path, { token: `${tokens.write}x`, body });
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(response.text).not.toContain(tokens.write);
  });

  it.each(routes)('checks the scope on $method $path', async ({ method, path, body, needs }) => {
    for (const scope of ['read', 'write', 'admin'] as const) {
      const response = await edge().ask(method, path, { token: tokens[scope], body });
      const isTooSmall = needs === 'write' && scope === 'read';
      expect(response.status === 403).toBe(isTooSmall);
      if (isTooSmall) expect(response.json.needs).toBe('write');
    }
  });

  it.each([
    ['another scheme', 'Basic abc'],
    ['no token after the scheme', 'Bearer '],
    ['two tokens', `Bearer ${tokens.read} ${tokens.write}`],
  ])('refuses %s', async (_fault, authorization) => {
    const response = await edge().ask('GET', '/v1/regions', {
      token: null,
      headers: { authorization },
    });
    expect(response.status).toBe(401);
  });

  it('accepts the scheme in any case', async () => {
    const headers = { authorization: `bearer ${tokens.read}` };
    const response = await edge().ask('GET', '/v1/regions', { token: null, headers });
    expect(response.status).toBe(200);
  });

  it.each(['/healthz', '/openapi.json', '/docs', '/problems/check-failed'])(
    'requires no token on %s',
    async (path) => {
      expect((await edge().ask('GET', path, { token: null })).status).toBe(200);
    },
  );
});

describe('the id of a token', () => {
  const secret = 's'.repeat(32);

  it('is the one in the configuration', async () => {
    const authenticate = createAuthenticate([
      { id: 'shop', token: secret, scope: 'write', scripts: true },
    ]);
    const caller = { id: 'shop', scope: 'write', scripts: true };
    expect(await authenticate(`Bearer ${secret}`)).toEqual({ ok: true, value: caller });
  });

  it('is a prefix of the digest of its secret if the configuration has none', async () => {
    const authenticate = createAuthenticate([
      { id: null, token: secret, scope: 'read', scripts: false },
    ]);
    const id = createHash('sha256').update(secret).digest('hex').slice(0, 16);
    expect(await authenticate(`Bearer ${secret}`)).toEqual({
      ok: true,
      value: { id, scope: 'read', scripts: false },
    });
  });
});
