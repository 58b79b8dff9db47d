/** Tests the pages without a token: OpenAPI, documentation, problems, and the list of regions. */
import { describe, expect, it } from 'vitest';
import { createMisconfiguredApp } from '../../functions/edge/app.ts';
import { problemKinds } from '../../shared/http/problems.ts';
import { EdgeUnderTest, regionIds } from './fakes.ts';

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly tags: readonly { readonly name: string }[];
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
}

interface Operation {
  readonly summary: string;
  readonly tags: readonly string[];
  readonly security: unknown;
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

/** The former path of force-recover, which clients may still use. */
const forceRecoverAlias = '/v1/admin/regions/{id}/believe';

async function openApi(): Promise<OpenApi> {
  const response = await new EdgeUnderTest().ask('GET', '/openapi.json', { token: null });
  return JSON.parse(response.text);
}

function operationsOf(paths: OpenApi['paths']): readonly (readonly [string, Operation])[] {
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.values(operations).map((operation) => [path, operation] as const),
  );
}

describe('the OpenAPI document', () => {
  it('describes every address under /v1, and only those', async () => {
    const { paths } = await openApi();
    const described = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method} ${path}`),
    );
    const own = described.filter((address) => address.includes(' /v1/'));
    expect(own.sort()).toEqual([
      'delete /v1/admin/regions/{id}',
      'delete /v1/keys/{key}',
      'delete /v1/webhooks/{id}',
      'get /v1/admin/doctor',
      'get /v1/admin/in-doubt',
      'get /v1/admin/members',
      'get /v1/admin/regions',
      'get /v1/changes',
      'get /v1/keys/{key}',
      'get /v1/regions',
      'get /v1/webhooks',
      'get /v1/webhooks/keys',
      'get /v1/webhooks/{id}',
      'get /v1/webhooks/{id}/deliveries',
      'get /v1/webhooks/{id}/deliveries/{event}',
      'get /v1/writes/{id}',
      'patch /v1/webhooks/{id}',
      'post /v1/admin/found',
      'post /v1/admin/in-doubt/settle',
      'post /v1/admin/regions',
      `post ${forceRecoverAlias}`,
      'post /v1/admin/regions/{id}/force-recover',
      'post /v1/admin/regions/{id}/out',
      'post /v1/admin/regions/{id}/return',
      'post /v1/admin/repair',
      'post /v1/admin/verify',
      'post /v1/reads',
      'post /v1/webhooks',
      'post /v1/webhooks/{id}/enable',
      'post /v1/webhooks/{id}/replay',
      'post /v1/webhooks/{id}/rotate',
      'post /v1/webhooks/{id}/test',
      'post /v1/writes',
      'put /v1/keys/{key}',
    ]);
  });

  it('groups every operation under a tag that it lists', async () => {
    const { paths, tags } = await openApi();
    const names = tags.map(({ name }) => name);
    const operations = Object.values(paths).flatMap((path) => Object.values(path));
    const used = operations.flatMap((operation) => operation.tags);
    expect(operations.filter((operation) => operation.tags.length !== 1)).toEqual([]);
    expect([...new Set(used)].sort()).toEqual([...names].sort());
  });

  it('gives each operation a summary, security, and its problems', async () => {
    const { paths } = await openApi();
    for (const [path, operation] of operationsOf(paths)) {
      expect(operation.summary).toMatch(/\S/);
      // Webhook receivers check signatures, and have no token.
      if (!path.startsWith('/v1/') || path === '/v1/webhooks/keys') continue;
      expect(operation.security).toEqual([
        { bearer: [expect.stringMatching(/^(?:read|write|admin)$/)] },
      ]);
      expect(operation.responses['401']?.description).toContain('/problems/unauthenticated');
    }
  });
});

describe('the documentation page', () => {
  it('is the target of the root’s redirect', async () => {
    const response = await new EdgeUnderTest().ask('GET', '/', { token: null });
    expect([response.status, response.headers.get('location')]).toEqual([302, '/docs']);
  });

  it('loads nothing from other origins', async () => {
    const response = await new EdgeUnderTest().ask('GET', '/docs', { token: null });
    const policy = response.headers.get('content-security-policy');
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    const addresses = [...response.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(
      ([, address]) => address,
    );
    expect(addresses.length).toBeGreaterThan(3);
    for (const address of addresses) {
      expect(address).toMatch(/^\/docs\//);
      expect((await new EdgeUnderTest().ask('GET', String(address))).status).toBe(200);
    }
  });

  it('serves no other file of its package', async () => {
    const response = await new EdgeUnderTest().ask('GET', '/docs/package.json', { token: null });
    expect(response.status).toBe(404);
  });
});

describe('the address of a problem', () => {
  it.each(Object.keys(problemKinds))('explains %s', async (name) => {
    const response = await new EdgeUnderTest().ask('GET', `/problems/${name}`, { token: null });
    expect(response.status).toBe(200);
    expect(response.json).toMatchObject({
      type: `/problems/${name}`,
      remedy: expect.stringMatching(/\S/),
    });
  });

  it.each(['nothing', '__proto__', 'toString'])('gets 404 for %s', async (name) => {
    const response = await new EdgeUnderTest().ask('GET', `/problems/${name}`, { token: null });
    expect(response.status).toBe(404);
  });
});

describe('the regions', () => {
  it('are listed with their health, and without secrets in their URLs', async () => {
    const response = await new EdgeUnderTest().ask('GET', '/v1/regions');
    expect(response.status).toBe(200);
    expect(response.text).not.toContain('secret');
    expect(response.json.regions).toHaveLength(regionIds.length);
    expect(response.json).toMatchObject({
      regions: [
        {
          id: 'us-east-1',
          host: 'use1.example.com',
          state: 'voter',
          health: 'answering',
          generation: 7,
          roundTripMs: 3,
        },
        {},
        {},
      ],
      coordinators: [{ shard: 0, epoch: 1, minVoters: 2 }],
    });
  });

  it('are listed even if the coordinator does not answer', async () => {
    const describe = () => Promise.reject(new Error('the object was reset'));
    const response = await new EdgeUnderTest({ describe }).ask('GET', '/v1/regions');
    expect(response.status).toBe(200);
    expect(response.json).toMatchObject({
      regions: [{ state: 'unknown', health: 'unknown' }, {}, {}],
      coordinators: [],
    });
  });
});

describe('the edge', () => {
  it('answers /healthz without calling an object', async () => {
    const describe = () => Promise.reject(new Error('describe is not expected'));
    const edge = new EdgeUnderTest({ describe });
    expect((await edge.ask('GET', '/healthz', { token: null })).json).toEqual({ ok: true });
    expect(edge.logged).toEqual([]);
  });

  it.each(['/healthz', '/docs', '/openapi.json', '/v1/regions', '/nowhere'])(
    'sends the security headers of a browser with %s',
    async (path) => {
      const { headers } = await new EdgeUnderTest().ask('GET', path, { token: null });
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('strict-transport-security')).toMatch(/max-age=\d+/);
      expect(headers.get('x-frame-options')).toBe('DENY');
    },
  );

  it('lets pages of any origin call it, and read its headers', async () => {
    const edge = new EdgeUnderTest();
    const headers = { origin: 'https://example.com', 'access-control-request-method': 'PUT' };
    const preflight = await edge.ask('OPTIONS', '/v1/keys/k', { token: null, headers });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-methods')).toContain('PUT');
    expect(preflight.headers.get('access-control-allow-headers')).toContain('Idempotency-Key');
    const refused = await edge.ask('GET', '/v1/regions', { token: null, headers });
    expect(refused.headers.get('access-control-allow-origin')).toBe('*');
    const exposed = refused.headers.get('access-control-expose-headers')?.split(',') ?? [];
    expect(exposed).toContain('ETag');
    expect(exposed).toEqual([...new Set(exposed)]);
  });

  it('sends servers only the common headers that matter for a call', async () => {
    const edge = new EdgeUnderTest();
    const call = (headers: Record<string, string>) =>
      edge.ask('POST', '/v1/writes', { body: '{}', headers });
    const { headers } = await call({});
    expect(headers.get('x-request-id')).toMatch(/\S/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('access-control-allow-origin')).toBeNull();
    const paged = await call({ origin: 'https://example.com' });
    expect(paged.headers.get('x-request-id')).toMatch(/\S/);
    expect(paged.headers.get('access-control-allow-origin')).toBe('*');
    const asked = await edge.ask('OPTIONS', '/v1/writes', { token: null });
    expect(asked.status).toBe(204);
  });

  it('returns 503 with the faulty variable for every request if the configuration is invalid', async () => {
    const logged: string[] = [];
    const fault = {
      ok: false,
      variable: 'LOCKSTEP_TOKENS',
      detail: 'LOCKSTEP_TOKENS: is not set.',
    } as const;
    const app = createMisconfiguredApp(fault, (message) => logged.push(message));
    for (const path of ['/healthz', '/v1/regions', '/elsewhere']) {
      const response = await app.request(path);
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({
        type: '/problems/configuration-invalid',
        variable: 'LOCKSTEP_TOKENS',
        detail: 'LOCKSTEP_TOKENS: is not set.',
      });
    }
    expect(logged).toEqual(['configuration is invalid']);
  });
});
