/** Tests the refusal of malformed and oversized requests before any object is called. */
import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { EdgeUnderTest, problemOf } from './fakes.ts';

const edge = new EdgeUnderTest();

/** No request that is refused here may reach the coordinator or a region. */
afterEach(() => {
  expect(edge.writes).toEqual([]);
  expect(edge.snapshots).toEqual([]);
  expect(edge.logged).toEqual([]);
});

const deep = `{"ops":[["SET","k",${'['.repeat(100_000)}${']'.repeat(100_000)}]]}`;

describe('a hostile body of a write', () => {
  it.each([
    ['an empty body', '', 400, 'invalid-json'],
    ['a truncated body', '{"ops":[["SET"', 400, 'invalid-json'],
    ['text', 'hello', 400, 'invalid-json'],
    ['a trailing comma', '{"ops":[["SET","k","v"],]}', 400, 'invalid-json'],
    ['NaN', '{"ops":[["SET","k",NaN]]}', 400, 'invalid-json'],
    ['deep nesting', deep, 400, 'invalid-json'],
    ['a lone surrogate', '{"ops":[["SET","k","\\ud800"]]}', 400, 'invalid-json'],
    ['a lone low surrogate in a key', '{"ops":[["SET","a\\uDC00b","v"]]}', 400, 'invalid-json'],
    ['2^53 + 1', '{"ops":[["INCRBY","k",9007199254740993]]}', 400, 'invalid-json'],
    ['2^53 + 1 with a fraction', '{"ops":[["SET","k",9007199254740993.0]]}', 400, 'invalid-json'],
    ['a long decimal', '{"ops":[["SET","k",0.12345678901234567891]]}', 400, 'invalid-json'],
    ['an infinite number', '{"ops":[["SET","k",1e999]]}', 400, 'invalid-json'],
    ['a vanishing number', '{"ops":[["SET","k",1e-999]]}', 400, 'invalid-json'],
    [
      'a member __proto__',
      '{"__proto__":{"ack":"confirmed"},"ops":[["SET","k","v"]]}',
      400,
      'invalid-json',
    ],
    [
      'an escaped member __proto__',
      '{"\\u005f_proto__":1,"ops":[["SET","k","v"]]}',
      400,
      'invalid-json',
    ],
    ['a repeated member', '{"ops":[["SET","k","v"]],"ops":[["DEL","k"]]}', 400, 'invalid-json'],
    [
      'a repeated escaped member',
      '{"ack":"committed","\\u0061ck":"confirmed","ops":[["DEL","k"]]}',
      400,
      'invalid-json',
    ],
    ['null', 'null', 400, 'invalid-request'],
    ['an array', '[]', 400, 'invalid-request'],
    ['no operations', '{"ops":[]}', 400, 'invalid-request'],
    ['an empty operation', '{"ops":[[]]}', 400, 'invalid-request'],
    ['operations as text', '{"ops":"SET k v"}', 400, 'invalid-request'],
    ['an operation as text', '{"ops":["SET k v"]}', 400, 'invalid-request'],
    ['a boolean argument', '{"ops":[["SET","k",true]]}', 400, 'invalid-request'],
    ['a null argument', '{"ops":[["SET","k",null]]}', 400, 'invalid-request'],
    ['an object argument', '{"ops":[["SET","k",{"a":1}]]}', 400, 'invalid-request'],
    ['an array argument', '{"ops":[["SET","k",["a"]]]}', 400, 'invalid-request'],
    ['an unknown member', '{"ops":[["SET","k","v"]],"constructor":1}', 400, 'invalid-request'],
    [
      'an unknown check',
      '{"ops":[["DEL","k"]],"checks":[{"key":"k","above":1}]}',
      400,
      'invalid-request',
    ],
    [
      'a check with two conditions',
      '{"ops":[["DEL","k"]],"checks":[{"key":"k","absent":true,"exists":true}]}',
      400,
      'invalid-request',
    ],
    [
      'absent: false',
      '{"ops":[["DEL","k"]],"checks":[{"key":"k","absent":false}]}',
      400,
      'invalid-request',
    ],
    ['an unknown ack', '{"ops":[["DEL","k"]],"ack":"maybe"}', 400, 'invalid-request'],
    ['too short a time', '{"ops":[["DEL","k"]],"timeoutMs":49}', 400, 'invalid-request'],
    ['too long a time', '{"ops":[["DEL","k"]],"timeoutMs":30001}', 400, 'invalid-request'],
    ['half a millisecond', '{"ops":[["DEL","k"]],"timeoutMs":100.5}', 400, 'invalid-request'],
    ['a negative priority', '{"ops":[["DEL","k"]],"priority":-1}', 400, 'invalid-request'],
    ['too high a priority', '{"ops":[["DEL","k"]],"priority":10}', 400, 'invalid-request'],
    ['an unknown command', '{"ops":[["FLY","k"]]}', 400, 'invalid-command'],
    ['an administrative command', '{"ops":[["SHUTDOWN"]]}', 400, 'unsupported-command'],
    ['a wrong number of arguments', '{"ops":[["SET","k"]]}', 400, 'invalid-command'],
    ['a reserved key', '{"ops":[["SET","lockstep:0:state","v"]]}', 400, 'reserved-key'],
    [
      'a reserved key in a check',
      '{"ops":[["SET","k","v"]],"checks":[{"key":"lockstep:0:lock","exists":true}]}',
      400,
      'reserved-key',
    ],
  ])('%s is refused', async (_fault, body, status, problem) => {
    const response = await edge.write(body);
    expect([response.status, problemOf(response)]).toEqual([status, problem]);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    expect(response.json.detail).toMatch(/\S/);
    expect(response.text.length).toBeLessThan(4_000);
  });

  it('is refused if it is not valid UTF-8', async () => {
    const body = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]);
    expect(problemOf(await edge.write(body))).toBe('invalid-json');
  });

  it.each([
    ['one byte past the limit', limits.bodyBytes + 1, 413],
    ['at the limit', limits.bodyBytes, 400],
  ])('is refused or accepted exactly by its size: %s', async (_fault, bytes, status) => {
    // At the limit it is read, and refused because it is no object.
    const response = await edge.write(`"${'a'.repeat(bytes - 2)}"`);
    expect(response.status).toBe(status);
  });

  it('is refused if a stream hides its size, and read no further than the drain limit', async () => {
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        controller.enqueue(new Uint8Array(100_000).fill(0x20));
      },
    });
    const headers = {
      authorization: `Bearer write-${'w'.repeat(32)}`,
      'content-type': 'application/json',
    };
    const init = { method: 'POST', headers, body: endless, duplex: 'half' } as const;
    const response = await edge.app.request(new Request('http://edge/v1/writes', init));
    expect(response.status).toBe(413);
    expect(sent * 100_000).toBeLessThan(limits.bodyDrainedBytes + 1_000_000);
  });

  it.each([
    ['no type', undefined],
    ['a form', 'application/x-www-form-urlencoded'],
    ['text', 'text/plain'],
    ['another charset', 'application/json; charset=latin1'],
  ])('with the content type %s is refused', async (_fault, type) => {
    const headers = type === undefined ? {} : { 'content-type': type };
    const body = new TextEncoder().encode('{"ops":[["SET","k","v"]]}');
    const request = {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer write-${'w'.repeat(32)}` },
      body,
    };
    const response = await edge.app.request('/v1/writes', request);
    expect(response.status).toBe(415);
  });

  it.each([
    [
      'operations',
      { ops: Array.from({ length: limits.operationsPerWrite + 1 }, () => ['DEL', 'k']) },
    ],
    [
      'checks',
      {
        ops: [['DEL', 'k']],
        checks: Array.from({ length: limits.checksPerWrite + 1 }, () => ({
          key: 'k',
          exists: true,
        })),
      },
    ],
    [
      'arguments',
      { ops: [['DEL', ...Array.from({ length: limits.argumentsPerOperation }, () => 'k')]] },
    ],
  ])('with one more of %s than the limit is refused', async (_fault, body) => {
    expect((await edge.write(body)).status).toBe(400);
  });

  it.each([
    ['a key', [['SET', 'k'.repeat(limits.keyBytes + 1), 'v']]],
    ['a value', [['SET', 'k', 'v'.repeat(limits.valueBytes + 1)]]],
  ])('with %s above its limit is refused with 413', async (_fault, ops) => {
    const response = await edge.write({ ops });
    expect([response.status, problemOf(response)]).toEqual([413, 'too-large']);
  });

  it.each([
    ['empty', ''],
    ['too long', 'k'.repeat(limits.idempotencyKeyBytes + 1)],
    ['not ASCII', 'k\u00e9y'],
  ])('with an idempotency key that is %s is refused', async (_fault, key) => {
    const response = await edge.write({ ops: [['SET', 'k', 'v']] }, { 'idempotency-key': key });
    expect(problemOf(response)).toBe('invalid-request');
  });

  it('gets a pointer for each error', async () => {
    const response = await edge.write({ ops: [['SET', 'k', true]], priority: 10 });
    expect(response.json.errors).toEqual([
      { pointer: '/ops/0/2', detail: 'an argument is a string or a number' },
      { pointer: '/priority', detail: expect.stringContaining('9') },
    ]);
  });

  it('gets the advice to send a large integer as a string', async () => {
    const response = await edge.write('{"ops":[["INCRBY","k",9007199254740993]]}');
    expect(response.json.detail).toContain('send it as a string, "9007199254740993"');
  });
});

describe('a hostile address', () => {
  it.each([
    ['a key that is not valid UTF-8', 'GET', '/v1/keys/%FF', 400],
    ['a broken percent sign', 'GET', '/v1/keys/%zz', 400],
    ['a reserved key', 'GET', '/v1/keys/lockstep:0:state', 400],
    ['an unknown consistency', 'GET', '/v1/keys/k?consistency=maybe', 400],
    ['an unknown option', 'GET', '/v1/keys/k?color=red', 400],
    ['an unknown region', 'GET', '/v1/keys/k?region=mars', 404],
    ['no key', 'GET', '/v1/keys/', 404],
    ['an unknown address', 'GET', '/v2/writes', 404],
    ['a malformed id', 'GET', '/v1/writes/abc', 404],
    ['an id of another shard', 'GET', '/v1/writes/7-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2', 404],
    ['another method', 'GET', '/v1/writes', 405],
    ['another method on a key', 'POST', '/v1/keys/k', 405],
  ])('with %s gets a problem', async (_fault, method, path, status) => {
    const response = await edge.ask(method, path);
    expect(response.status).toBe(status);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    if (status === 405) expect(response.headers.get('allow')).toMatch(/[A-Z]/);
  });
});
