/** Tests GET, PUT and DELETE of keys, with their ETags and conditions. */
import { describe, expect, it } from 'vitest';
import { decided, EdgeUnderTest, problemOf, read } from './fakes.ts';

const path = '/v1/keys/k';
const string = (value: string) => read(`[{"s":"string"},${JSON.stringify(value)}]`);
const absent = read('[{"s":"none"},null]');
const wrongType = '{"e":"WRONGTYPE Operation against a key holding the wrong kind of value"}';

function edgeHolding(...results: ReturnType<typeof read>[]): EdgeUnderTest {
  return new EdgeUnderTest({ write: async () => decided() }, { 'us-east-1': results });
}

async function etagOf(value: string): Promise<string> {
  return (await edgeHolding(string(value)).ask('GET', path)).headers.get('etag') ?? '';
}

describe('GET of a key', () => {
  it('returns a string with a strong ETag that depends on the value alone', async () => {
    const response = await edgeHolding(string('v')).ask('GET', path);
    expect(response.json).toEqual({ key: 'k', type: 'string', value: 'v' });
    expect(response.headers.get('etag')).toMatch(/^"[\w-]{22}"$/);
    expect(await etagOf('v')).toBe(response.headers.get('etag'));
    expect(await etagOf('w')).not.toBe(response.headers.get('etag'));
  });

  it('returns 404 if the key is absent', async () => {
    const response = await edgeHolding(absent).ask('GET', path);
    expect([response.status, problemOf(response)]).toEqual([404, 'key-absent']);
  });

  it.each([
    [
      'hash',
      '["__proto__","1","f","2"]',
      [
        ['__proto__', '1'],
        ['f', '2'],
      ],
    ],
    ['zset', '["m","1.5"]', [['m', '1.5']]],
    ['list', '["a","b"]', ['a', 'b']],
    ['set', '["a"]', ['a']],
  ])('returns a whole %s', async (type, reply, value) => {
    const first = read(`[{"s":"${type}"},${wrongType}]`);
    const edge = edgeHolding(first, read(`[{"s":"${type}"},${reply}]`));
    const response = await edge.ask('GET', path);
    expect(response.json).toEqual({ key: 'k', type, value });
  });

  it.each([
    ['set', '["b","a","\\u00ff"]', '["\\u00ff","b","a"]', '["b","a"]'],
    ['hash', '["f","1","e","2"]', '["e","2","f","1"]', '["e","1","f","2"]'],
  ])('has the same ETag for a %s in any order of its elements', async (type, one, same, other) => {
    const tagFor = async (reply: string) => {
      const first = read(`[{"s":"${type}"},${wrongType}]`);
      const edge = edgeHolding(first, read(`[{"s":"${type}"},${reply}]`));
      return (await edge.ask('GET', path)).headers.get('etag');
    };
    expect(await tagFor(same)).toBe(await tagFor(one));
    expect(await tagFor(other)).not.toBe(await tagFor(one));
  });

  it('returns 422 for a stream', async () => {
    const response = await edgeHolding(read(`[{"s":"stream"},${wrongType}]`)).ask('GET', path);
    expect([response.status, problemOf(response)]).toEqual([422, 'unsupported-type']);
  });

  it.each([
    ['the ETag', (etag: string) => etag],
    ['its weak form', (etag: string) => `W/${etag}`],
    ['a list with it', (etag: string) => `"other", ${etag}`],
    ['an asterisk', () => '*'],
  ])('returns 304 if If-None-Match is %s', async (_form, headerOf) => {
    const headers = { 'if-none-match': headerOf(await etagOf('v')) };
    const response = await edgeHolding(string('v')).ask('GET', path, { headers });
    expect([response.status, response.text]).toEqual([304, '']);
    expect(response.headers.get('etag')).toBe(await etagOf('v'));
  });

  it('returns the value if it has changed', async () => {
    const headers = { 'if-none-match': await etagOf('v') };
    const response = await edgeHolding(string('w')).ask('GET', path, { headers });
    expect([response.status, response.json.value]).toEqual([200, 'w']);
  });

  it.each([
    ['a%2Fb', 'a/b'],
    ['a/b', 'a/b'],
    ['100%25', '100%'],
    ['a%252Fb', 'a%2Fb'],
    ['%C3%A9%00', 'é\0'],
    ['a+b%20c', 'a+b c'],
  ])('decodes %s to its key', async (encoded, key) => {
    const edge = edgeHolding(string('v'));
    await edge.ask('GET', `/v1/keys/${encoded}`);
    expect(edge.snapshots[0]?.request.keys).toEqual([key]);
  });

  it('passes consistency and region on', async () => {
    const edge = new EdgeUnderTest({}, { 'eu-west-1': [string('v')] });
    const response = await edge.ask('GET', `${path}?consistency=local&region=eu-west-1`);
    expect(response.headers.get('lockstep-region')).toBe('eu-west-1');
    expect(edge.snapshots[0]?.request.strong).toBe(false);
  });
});

describe('an address that names a key', () => {
  it.each([
    ['/v1/keys/%2E', '.'],
    ['/v1/keys/..', '..'],
    ['/v1/keys/tenant1/../tenant2/x', 'tenant1/../tenant2/x'],
    ['/v1/keys/a//b/', 'a//b/'],
    ['/v1/%6Beys/x', 'x'],
  ])('of the form %s is used without normalization', async (target, key) => {
    const edge = edgeHolding(string('v'));
    expect((await edge.askRaw(target)).status).toBe(200);
    expect(edge.snapshots[0]?.request.keys).toEqual([key]);
  });
});

describe('PUT of a key', () => {
  const body = { value: 'w' };

  it('sets the key and returns the ETag of a later GET', async () => {
    const edge = edgeHolding();
    const response = await edge.ask('PUT', path, { body: { value: 'é' } });
    expect(response.status).toBe(200);
    expect(edge.writes[0]).toMatchObject({ ops: [['SET', 'k', 'é']], checks: [] });
    expect(response.headers.get('etag')).toBe(await etagOf('\u00c3\u00a9'));
  });

  it('sets an expiry', async () => {
    const edge = edgeHolding();
    await edge.ask('PUT', path, { body: { value: 1, expiresInMs: 500 } });
    expect(edge.writes[0]?.ops).toEqual([['SET', 'k', '1', 'PX', '500']]);
  });

  it('with If-None-Match: * checks that the key is absent', async () => {
    const edge = edgeHolding();
    await edge.ask('PUT', path, { body, headers: { 'if-none-match': '*' } });
    expect(edge.writes[0]?.checks).toEqual([{ kind: 'absent', key: 'k' }]);
  });

  it('with If-Match: * checks that the key exists', async () => {
    const edge = edgeHolding();
    await edge.ask('PUT', path, { body, headers: { 'if-match': '*' } });
    expect(edge.writes[0]?.checks).toEqual([{ kind: 'exists', key: 'k' }]);
  });

  it('with the present ETag checks for exactly the present value', async () => {
    const edge = edgeHolding(string('\u00c3\u00a9'));
    const headers = { 'if-match': await etagOf('\u00c3\u00a9') };
    await edge.ask('PUT', path, { body, headers });
    expect(edge.writes[0]?.checks).toEqual([{ kind: 'equals', key: 'k', value: 'é' }]);
  });

  it.each([
    ['another value', string('x')],
    ['nothing', absent],
  ])('with the ETag of a former value returns 412 if the key now has %s', async (_now, result) => {
    const edge = edgeHolding(result);
    const response = await edge.ask('PUT', path, {
      body,
      headers: { 'if-match': await etagOf('v') },
    });
    expect([response.status, problemOf(response)]).toEqual([412, 'precondition-failed']);
    expect(edge.writes).toEqual([]);
  });

  it('returns 412 if the value changes between the comparison and the commit', async () => {
    const lost = decided({ outcome: 'rejected', sequence: null, part: '[1,0,"x"]' });
    const edge = new EdgeUnderTest({ write: async () => lost }, { 'us-east-1': [string('v')] });
    const response = await edge.ask('PUT', path, {
      body,
      headers: { 'if-match': await etagOf('v') },
    });
    expect([response.status, problemOf(response)]).toEqual([412, 'precondition-failed']);
  });

  it('returns its first response for its idempotency key, even if the ETag no longer matches', async () => {
    const headers = { 'if-match': await etagOf('v'), 'idempotency-key': 'put 1' };
    const first = edgeHolding(string('v'));
    await first.ask('PUT', path, { body, headers });
    const second = new EdgeUnderTest(
      { write: async () => decided({}, true) },
      { 'us-east-1': [string('w')] },
    );
    const response = await second.ask('PUT', path, { body, headers });
    expect([response.status, response.json.replayed]).toEqual([200, true]);
    expect(second.writes[0]?.idempotency).toEqual(first.writes[0]?.idempotency);
    // If the coordinator does not know the key, these checks fail with any value.
    expect(second.writes[0]?.checks.map(({ kind }) => kind)).toEqual(['absent', 'exists']);
  });

  it.each([
    ['a hash', [read(`[{"s":"hash"},${wrongType}]`), read('[{"s":"hash"},["f","1"]]')]],
    ['bytes that are not valid UTF-8', [string('\u00ff')]],
  ])('refuses a condition with the ETag of %s', async (_what, results) => {
    const etag = (await edgeHolding(...results).ask('GET', path)).headers.get('etag') ?? '';
    const response = await edgeHolding(...results).ask('PUT', path, {
      body,
      headers: { 'if-match': etag },
    });
    expect([response.status, problemOf(response)]).toEqual([422, 'unsupported-type']);
  });

  it.each([
    ['an If-None-Match that names a tag', { 'if-none-match': '"a"' }],
    ['both conditions', { 'if-none-match': '*', 'if-match': '*' }],
    ['a malformed If-Match', { 'if-match': 'abc' }],
  ])('refuses %s', async (_fault, headers) => {
    const response = await edgeHolding().ask('PUT', path, { body, headers });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
  });

  it.each([{ value: null }, { value: ['a'] }, {}, { value: 'v', expiresInMs: 0 }])(
    'refuses the body %j',
    async (refused) => {
      expect((await edgeHolding().ask('PUT', path, { body: refused })).status).toBe(400);
    },
  );
});

describe.each(['PUT', 'DELETE'] as const)('%s of a key', (method) => {
  it('writes nothing if the request has a query, which may belong to the key or the body', async () => {
    const edge = edgeHolding();
    const body = method === 'PUT' ? { value: 'v' } : undefined;
    for (const query of ['?what', '?expiresInMs=1000', '?region=us-east-1']) {
      const response = await edge.ask(method, `${path}${query}`, { body });
      expect([response.status, problemOf(response)]).toEqual([400, 'invalid-request']);
      expect(response.json.detail).toMatch(/query.*%3F/);
    }
    expect(edge.writes).toEqual([]);
  });
});

describe('DELETE of a key', () => {
  it('deletes the key under its conditions', async () => {
    const edge = edgeHolding(string('v'));
    const response = await edge.ask('DELETE', path, { headers: { 'if-match': await etagOf('v') } });
    expect(response.status).toBe(200);
    expect(edge.writes[0]).toMatchObject({
      ops: [['DEL', 'k']],
      checks: [{ kind: 'equals', key: 'k', value: 'v' }],
    });
  });
});
