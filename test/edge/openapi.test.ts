import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { generate, HttpClient } from 'openapi-typescript-codegen';
import { beforeAll, describe, expect, it } from 'vitest';
import { eventTypes } from '../../shared/contracts/webhooks-and-feed.ts';
import { EdgeUnderTest, problemOf, tokens } from './fakes.ts';

/** The OpenAPI document as tools and their users see it. */

interface Operation {
  readonly operationId?: string;
  readonly security?: readonly { readonly bearer?: readonly string[] }[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly description?: string;
  }[];
  readonly responses: Readonly<Record<string, { readonly headers?: object }>>;
}

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly webhooks: Readonly<Record<string, unknown>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, { readonly example?: Readonly<object> }>>;
  };
}

let text = '';
let document: OpenApi;

beforeAll(async () => {
  ({ text } = await new EdgeUnderTest().ask('GET', '/openapi.json', { token: null }));
  document = JSON.parse(text);
});

function operations() {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
}

describe('the OpenAPI document', () => {
  it('passes a strict linter without errors and warnings', async () => {
    // An operation without a token and without arguments refuses no request.
    const rules = { 'operation-4xx-response': 'off' } as const;
    const config = await createConfig({ extends: ['recommended-strict'], rules });
    const problems = await lintFromString({ source: text, absoluteRef: '/openapi.json', config });
    const found = problems.map(
      ({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer}`,
    );
    expect(found).toEqual([]);
  });

  it('gives each operation an id of its own', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(ids.filter((id, at) => id === undefined || ids.indexOf(id) !== at)).toEqual([]);
  });

  it('names the scope that each operation of /v1 needs, and a token of a lesser scope is refused', async () => {
    const lesser = { read: null, write: 'read', admin: 'write' } as const;
    for (const { path, method, operation } of operations()) {
      const scope = operation.security?.[0]?.bearer?.[0] as keyof typeof tokens | undefined;
      if (!path.startsWith('/v1') || scope === undefined) continue;
      const below = lesser[scope];
      const token = below === null ? null : tokens[below];
      const address = path.replaceAll(/\{[^}]*\}/g, 'x');
      const response = await new EdgeUnderTest().ask(method.toUpperCase(), address, { token });
      const kind = below === null ? 'unauthenticated' : 'forbidden';
      expect([method, path, problemOf(response)]).toEqual([method, path, kind]);
    }
  });

  it('accepts an Idempotency-Key with each POST that creates or triggers something', () => {
    const questions = ['/v1/reads', '/v1/admin/verify'];
    const without = operations().filter(({ path, method, operation }) => {
      if (method !== 'post' || !path.startsWith('/v1') || questions.includes(path)) return false;
      return !(operation.parameters ?? []).some(({ name }) => name === 'Idempotency-Key');
    });
    expect(without.map(({ path }) => path)).toEqual([]);
  });

  it('spells headers in their usual case, and names those of responses', () => {
    const headers = operations().flatMap(({ operation }) =>
      (operation.parameters ?? []).filter((parameter) => parameter.in === 'header'),
    );
    expect(headers.map(({ name }) => name).filter((name) => !/^[A-Z]/.test(name))).toEqual([]);
    const write = document.paths['/v1/writes']?.post;
    expect(Object.keys(write?.responses['202']?.headers ?? {})).toContain('Location');
    expect(Object.keys(write?.responses['503']?.headers ?? {})).toContain('Retry-After');
    for (const { operation } of operations()) {
      for (const response of Object.values(operation.responses)) {
        expect(Object.keys(response.headers ?? {})).toContain('X-Request-Id');
      }
    }
  });

  it('describes each parameter', () => {
    const bare = operations().flatMap(({ path, method, operation }) =>
      (operation.parameters ?? [])
        .filter(({ description = '' }) => description === '')
        .map(({ name }) => `${method} ${path}: ${name}`),
    );
    expect(bare).toEqual([]);
  });

  it('lists 202 for writes of keys that may be accepted before they are carried out', () => {
    for (const method of ['put', 'delete']) {
      expect(Object.keys(document.paths['/v1/keys/{key}']?.[method]?.responses ?? {})).toContain(
        '202',
      );
    }
  });

  it('has every webhook event, and the addresses outside of /v1', () => {
    expect(Object.keys(document.webhooks)).toEqual([...eventTypes]);
    const others = Object.keys(document.paths).filter((path) => !path.startsWith('/v1'));
    expect(others).toEqual([
      '/',
      '/pipeline',
      '/multi-exec',
      '/{command}/{arguments}',
      '/subscribe/{channel}',
      '/psubscribe/{pattern}',
      '/monitor',
      '/healthz',
      '/problems/{name}',
    ]);
  });

  it('has an example of a write without a callback', () => {
    expect(document.components.schemas.Write?.example).toEqual({
      ops: [
        ['SET', 'stock:42', 7],
        ['INCR', 'orders'],
      ],
    });
  });

  it('is generated once, and not sent again to a client that has it', async () => {
    const edge = new EdgeUnderTest();
    const first = await edge.ask('GET', '/openapi.json', { token: null });
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"/);
    const headers = { 'if-none-match': etag };
    const second = await edge.ask('GET', '/openapi.json', { token: null, headers });
    expect([second.status, second.text]).toEqual([304, '']);
  });
});

describe('a generated client', () => {
  it('compiles the smallest write, without any optional member', async () => {
    mkdirSync('.lockstep', { recursive: true });
    const directory = mkdtempSync(resolve('.lockstep', 'client-'));
    try {
      const input = JSON.parse(text);
      await generate({ input, output: directory, httpClient: HttpClient.FETCH });
      writeFileSync(
        join(directory, 'smallest.ts'),
        `import { OpenAPI, WritesService } from './index';
OpenAPI.TOKEN = 'secret';
export async function add(): Promise<string> {
  const answer = await WritesService.write({ ops: [['INCR', 'visits'], ['SADD', 'pages', 'home']] });
  return answer.id;
}
`,
      );
      const options = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig'];
      const target = ['--target', 'ES2022', '--module', 'ESNext', '--moduleResolution', 'Bundler'];
      const { status, stdout } = spawnSync(
        join('node_modules', '.bin', 'tsc'),
        [...options, ...target, '--lib', 'ES2022,DOM', join(directory, 'smallest.ts')],
        { encoding: 'utf8' },
      );
      expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
