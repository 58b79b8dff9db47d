/** Tests the local gateway's REST protocol and its faults. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis as Upstash } from '@upstash/redis';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Gateway } from '../../local/gateway/gateway.ts';
import { startGateway } from '../../local/gateway/gateway.ts';
import { placesFor } from '../../local/gateway/round-trips.ts';
import type { LocalRegion } from '../../local/stack/regions.ts';
import { redisKind, startRegion } from '../../local/stack/regions.ts';
import { connectTo } from '../support/redis.ts';

const token = 'token-of-the-gateway';
const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-gateway-'));
let region: LocalRegion;
let redis: Redis;
let gateway: Gateway;

beforeAll(async () => {
  const [place] = placesFor(1);
  if (place === undefined) throw new Error('there is a first place');
  region = await startRegion(place, stateDirectory, redisKind());
  redis = connectTo(region.port);
  gateway = await startGateway({ redisPort: region.port, token, roundTripMs: 0 });
});

afterAll(async () => {
  redis.disconnect();
  await gateway.close();
  await region.stop();
  rmSync(stateDirectory, { recursive: true });
});

beforeEach(async () => {
  await redis.flushall();
});

afterEach(() => {
  gateway.faults.clear();
});

interface Sent {
  readonly method?: string;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

async function send(path: string, sent: Sent = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(`${gateway.url}${path}`, {
    method: sent.method ?? (sent.body === undefined ? 'GET' : 'POST'),
    headers: { authorization: `Bearer ${token}`, ...sent.headers },
    ...(sent.body === undefined ? {} : { body: sent.body }),
  });
  return { status: response.status, text: await response.text() };
}

function post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) {
  return send(path, { body: JSON.stringify(body), headers });
}

describe('a command as JSON', () => {
  it('runs, and its reply is the result', async () => {
    expect(await post('/', ['SET', 'key', 'välue'])).toEqual({
      status: 200,
      text: '{"result":"OK"}',
    });
    expect(await post('/', ['GET', 'key'])).toEqual({ status: 200, text: '{"result":"välue"}' });
    expect(await post('/', ['get', 'none'])).toEqual({ status: 200, text: '{"result":null}' });
    expect(await redis.get('key')).toBe('välue');
  });

  it('accepts numbers and booleans in their JSON form', async () => {
    await send('/', { body: '["SET","number",9007199254740993]' });
    await send('/', { body: '["SET","boolean",true]' });
    expect(await redis.mget('number', 'boolean')).toEqual(['9007199254740993', 'true']);
  });

  it('keeps every digit of an integer beyond 2^53', async () => {
    await redis.set('counter', '9223372036854775806');
    expect((await post('/', ['INCR', 'counter'])).text).toBe('{"result":9223372036854775807}');
  });

  it('returns the reply of a hash command as the flat array that Redis sent', async () => {
    await post('/', ['hset', 'hash', 'a', '1', 'b', '2']);
    expect((await post('/', ['hgetall', 'hash'])).text).toBe('{"result":["a","1","b","2"]}');
  });

  it('returns 400 with the error of Redis if Redis refuses it', async () => {
    await redis.set('text', 'x');
    const wrongType = await post('/', ['LPUSH', 'text', 'y']);
    expect(wrongType.status).toBe(400);
    expect(JSON.parse(wrongType.text).error).toMatch(/^WRONGTYPE /);
    const noScript = await post('/', ['EVALSHA', 'f'.repeat(40), '0']);
    expect(JSON.parse(noScript.text).error).toContain('NOSCRIPT');
  });

  it.each([
    ['no JSON', '["GET"'],
    ['an object', '{"a":1}'],
    ['no command', '[]'],
    ['an argument that is an array', '["GET",["a"]]'],
    ['an argument that is null', '["SET","a",null]'],
    ['a command that would hold the shared connection', '["BLPOP","a",0]'],
    ['a command that would change the shared connection', '["select","1"]'],
  ])('returns 400 for %s', async (_what, body) => {
    const answer = await send('/', { body });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text).error).toMatch(/^ERR /);
  });
});

describe('a command as a path', () => {
  it('takes its arguments from the path, then from the body, then from the query', async () => {
    expect((await send('/set/some%20key/1/PX/100000?NX')).text).toBe('{"result":"OK"}');
    expect((await send('/set/body?EX=100&_token=ignored', { body: 'from the body' })).text).toBe(
      '{"result":"OK"}',
    );
    expect(await redis.get('some key')).toBe('1');
    expect(await redis.get('body')).toBe('from the body');
    expect(await redis.ttl('body')).toBeGreaterThan(90);
  });

  it('keeps bytes that are not valid UTF-8', async () => {
    await send('/set/path/%ff%00');
    await send('/set/body', { body: new Uint8Array([0xff, 0x00]) });
    const bytes = Buffer.from([0xff, 0x00]);
    expect(await redis.mgetBuffer('path', 'body')).toEqual([bytes, bytes]);
  });

  it('passes an empty argument on', async () => {
    await send('/hset/hash//empty');
    expect(await redis.hgetall('hash')).toEqual({ '': 'empty' });
  });
});

describe('a pipeline', () => {
  it('returns a result or an error for each command', async () => {
    const answer = await post('/pipeline', [
      ['SET', 'a', '1'],
      ['LPUSH', 'a', 'x'],
      ['INCR', 'a'],
    ]);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toEqual([
      { result: 'OK' },
      { error: expect.stringMatching(/^WRONGTYPE /) },
      { result: 2 },
    ]);
  });
});

describe('a transaction', () => {
  it('runs its commands without any of another request in between', async () => {
    const increments = Array.from({ length: 20 }, () => ['INCR', 'counter']);
    const answers = await Promise.all([
      post('/multi-exec', increments),
      post('/multi-exec', increments),
      post('/pipeline', increments),
    ]);
    for (const answer of answers.slice(0, 2)) {
      const results: { result: number }[] = JSON.parse(answer.text);
      const first = results[0]?.result ?? 0;
      expect(results).toEqual(increments.map((_, index) => ({ result: first + index })));
    }
    expect(await redis.get('counter')).toBe('60');
  });

  it('continues after a command that fails', async () => {
    const answer = await post('/multi-exec', [
      ['SET', 'a', 'x'],
      ['INCR', 'a'],
      ['GET', 'a'],
    ]);
    expect(JSON.parse(answer.text)).toEqual([
      { result: 'OK' },
      { error: expect.stringContaining('not an integer') },
      { result: 'x' },
    ]);
  });

  it('is discarded as a whole if a command is malformed, and leaves the connection usable', async () => {
    const answer = await post('/multi-exec', [['SET', 'a', '1'], ['GET']]);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text).error).toMatch(/^EXECABORT /);
    expect((await post('/', ['GET', 'a'])).text).toBe('{"result":null}');
  });
});

describe('base64', () => {
  const headers = { 'upstash-encoding': 'base64' };

  it('encodes strings at every depth and nothing else', async () => {
    await redis.rpush('list', Buffer.from([0xff]), 'OK');
    const list = await post('/', ['LRANGE', 'list', '0', '-1'], headers);
    expect(list.text).toBe('{"result":["/w==","T0s="]}');
    const scan = await post('/', ['SCAN', '0'], headers);
    expect(scan.text).toBe('{"result":["MA==",["bGlzdA=="]]}');
    const pipeline = await post(
      '/pipeline',
      [
        ['SET', 'a', '1'],
        ['INCR', 'a'],
        ['GET', 'b'],
      ],
      headers,
    );
    expect(pipeline.text).toBe('[{"result":"OK"},{"result":2},{"result":null}]');
  });
});

describe('the door', () => {
  it('accepts the token in the header or the query, and returns 401 for a missing or wrong one', async () => {
    await redis.set('key', 'value');
    const plain = (path: string, headers = {}) => fetch(`${gateway.url}${path}`, { headers });
    expect((await plain(`/get/key?_token=${token}`)).status).toBe(200);
    expect((await plain('/get/key', { authorization: `Bearer ${token}` })).status).toBe(200);
    for (const refused of [plain('/get/key'), plain('/get/key', { authorization: 'Bearer no' })]) {
      const response = await refused;
      expect(response.status).toBe(401);
      expect(await response.json()).toEqual({ error: 'Unauthorized' });
    }
  });

  it('returns 405 for other methods', async () => {
    expect((await send('/get/key', { method: 'DELETE' })).status).toBe(405);
  });

  it('returns 413 for a body of more than 10 MB', async () => {
    expect((await send('/', { body: 'x'.repeat(10_000_001) })).status).toBe(413);
  });

  it('returns a new sync token with each response', async () => {
    const headers = { authorization: `Bearer ${token}` };
    const first = await fetch(`${gateway.url}/incr/a`, { headers });
    const second = await fetch(`${gateway.url}/incr/a`, { headers });
    expect(first.headers.get('upstash-sync-token')).not.toBe(
      second.headers.get('upstash-sync-token'),
    );
  });
});

describe('the Upstash client', () => {
  const upstash = () => new Upstash({ url: gateway.url, token, retry: { retries: 0 } });

  it('reads its own writes, through commands, pipelines, transactions and scripts', async () => {
    const client = upstash();
    await client.set('object', { deep: ['ü', 1, null] }, { ex: 100 });
    expect(await client.get('object')).toEqual({ deep: ['ü', 1, null] });
    expect(await client.pipeline().incr('a').hset('h', { f: 'v' }).hgetall('h').exec()).toEqual([
      1,
      1,
      { f: 'v' },
    ]);
    expect(await client.multi().incr('a').get('a').exec()).toEqual([2, 2]);
    expect(await client.createScript('return {KEYS[1], ARGV[1]}').exec(['k'], ['v'])).toEqual([
      'k',
      'v',
    ]);
  });

  it('throws the error of Redis', async () => {
    const client = upstash();
    await client.set('text', 'x');
    await expect(client.incr('text')).rejects.toThrow('not an integer');
  });
});

describe('a fault', () => {
  const increment = () => post('/', ['INCR', 'counter']);
  const counter = () => redis.get('counter');

  it('that drops a request leaves nothing behind, for the given number of requests', async () => {
    gateway.faults.add({ fault: { kind: 'drop', executed: false }, times: 1 });
    await expect(increment()).rejects.toThrow();
    expect(await counter()).toBe(null);
    expect((await increment()).text).toBe('{"result":1}');
  });

  it('that refuses connections lasts until it is removed', async () => {
    const refusal = gateway.faults.add({ fault: { kind: 'refuse' } });
    await expect(increment()).rejects.toThrow();
    await expect(increment()).rejects.toThrow();
    refusal.remove();
    expect((await increment()).text).toBe('{"result":1}');
    expect(refusal.hits).toBe(2);
  });

  it('that drops a response comes after the execution', async () => {
    gateway.faults.add({ fault: { kind: 'drop', executed: true }, times: 1 });
    await expect(increment()).rejects.toThrow();
    expect(await counter()).toBe('1');
  });

  it('that duplicates runs the request twice and responds once', async () => {
    gateway.faults.add({ fault: { kind: 'duplicate' }, times: 1 });
    expect((await increment()).text).toBe('{"result":1}');
    expect(await counter()).toBe('2');
  });

  it('that duplicates later responds once, and runs the request again after that', async () => {
    gateway.faults.add({ fault: { kind: 'duplicate', laterMs: 1 }, times: 1 });
    expect((await increment()).text).toBe('{"result":1}');
    await expect.poll(counter).toBe('2');
  });

  it('that is drawn per request meets those that no rule applies to', async () => {
    const seen: string[] = [];
    gateway.faults.setWeather(({ path }) => {
      seen.push(path);
      return seen.length === 2 ? { kind: 'drop', executed: true } : null;
    });
    const slow = gateway.faults.add({ fault: { kind: 'slow', ms: 1, executed: true }, times: 1 });
    expect((await increment()).text).toBe('{"result":1}');
    expect(slow.hits).toBe(1);
    expect((await increment()).text).toBe('{"result":2}');
    await expect(increment()).rejects.toThrow();
    expect(await counter()).toBe('3');
    gateway.faults.clear();
    expect((await increment()).text).toBe('{"result":4}');
    expect(seen).toHaveLength(2);
  });

  it('that hangs keeps the sender waiting', async () => {
    const hang = gateway.faults.add({ fault: { kind: 'hang', executed: true } });
    const sender = new AbortController();
    const asked = fetch(`${gateway.url}/incr/counter?_token=${token}`, { signal: sender.signal });
    await hang.hit;
    expect(await counter()).toBe('1');
    sender.abort();
    await expect(asked).rejects.toThrow('aborted');
  });

  it('that holds lets the request continue when its gate opens, even if its sender has left', async () => {
    const gate = Promise.withResolvers<void>();
    const executed = gateway.faults.add({
      fault: { kind: 'hold', executed: false, until: gate.promise },
    });
    const sender = new AbortController();
    const asked = fetch(`${gateway.url}/incr/counter?_token=${token}`, { signal: sender.signal });
    await executed.hit;
    expect(await counter()).toBe(null);
    sender.abort();
    await expect(asked).rejects.toThrow('aborted');
    gate.resolve();
    await expect.poll(counter).toBe('1');
  });

  it('affects only the matching requests', async () => {
    gateway.faults.add({
      fault: { kind: 'garbage', executed: false, answer: 'status-500' },
      matches: ({ text }) => text.includes('INCR'),
    });
    expect((await post('/', ['GET', 'counter'])).status).toBe(200);
    expect((await increment()).status).toBe(500);
  });

  it('that responds with garbage and status 200 sends a page or half a JSON text', async () => {
    gateway.faults.add({ fault: { kind: 'garbage', executed: true, answer: 'page' }, times: 1 });
    gateway.faults.add({ fault: { kind: 'garbage', executed: true, answer: 'broken-json' } });
    expect(await increment()).toMatchObject({ status: 200, text: expect.stringContaining('<') });
    const broken = await increment();
    expect(broken.status).toBe(200);
    expect(() => JSON.parse(broken.text)).toThrow();
    expect(await counter()).toBe('2');
  });
});

describe('a gateway whose region is down', () => {
  it('returns 503, and serves again when the region is back with its data', async () => {
    await redis.set('kept', '1');
    await region.kill();
    expect((await post('/', ['GET', 'kept'])).status).toBe(503);
    await region.restart();
    await gateway.ready();
    expect((await post('/', ['GET', 'kept'])).text).toBe('{"result":"1"}');
  });
});

describe('a hostile request', () => {
  it('for a reply that contains itself gets an error, and the gateway keeps serving', async () => {
    const itself = ['EVAL', 'local t = {} t[1] = t return t', '0'];
    expect((await post('/', itself)).text).toMatch(/nested deeper/);
    const both = await post('/pipeline', [itself, ['INCR', 'counter']]);
    expect(both.text).toMatch(/^\[\{"error":"ERR the reply is nested deeper.*\{"result":1\}\]$/);
    expect((await post('/multi-exec', [['INCR', 'counter'], itself])).status).toBe(400);
    expect((await post('/', ['GET', 'counter'])).text).toBe('{"result":"2"}');
  });

  it('that waits for a stream blocks no other request, and gets the new entry', async () => {
    const waiting = post('/', ['XREAD', 'BLOCK', '0', 'STREAMS', 'news', '$']);
    await expect.poll(async () => String(await redis.client('LIST'))).toMatch(/ flags=[A-Za-z]*b/);
    expect((await post('/', ['INCR', 'counter'])).status).toBe(200);
    expect((await post('/', ['XADD', 'news', '1-1', 'f', 'v'])).status).toBe(200);
    expect((await waiting).text).toBe('{"result":[["news",[["1-1",["f","v"]]]]]}');
  });

  it('that waits leaves no connection behind if its sender leaves', async () => {
    const sender = new AbortController();
    const asked = fetch(`${gateway.url}/?_token=${token}`, {
      method: 'POST',
      body: JSON.stringify(['XREAD', 'BLOCK', '0', 'STREAMS', 'news', '$']),
      signal: sender.signal,
    });
    const blocked = async () => / flags=[A-Za-z]*b/.test(String(await redis.client('LIST')));
    await expect.poll(blocked).toBe(true);
    sender.abort();
    await expect(asked).rejects.toThrow('aborted');
    await expect.poll(blocked).toBe(false);
  });
});

describe('a meter', () => {
  it('counts concurrent requests', async () => {
    const gate = Promise.withResolvers<void>();
    gateway.faults.add({ fault: { kind: 'hold', executed: false, until: gate.promise } });
    gateway.meter.reset();
    const asked = Promise.all([1, 2, 3].map(() => post('/', ['INCR', 'counter'])));
    await expect.poll(() => gateway.meter.inFlight).toBe(3);
    gate.resolve();
    await asked;
    gateway.faults.clear();
    await post('/', ['INCR', 'counter']);
    expect(gateway.meter).toMatchObject({ requests: 4, inFlightMaximum: 3 });
    await expect.poll(() => gateway.meter.inFlight).toBe(0);
  });
});

describe('a round trip', () => {
  it('is added once to each request', async () => {
    const far = await startGateway({ redisPort: region.port, token, roundTripMs: 120 });
    const startedAt = performance.now();
    await fetch(`${far.url}/incr/counter?_token=${token}`);
    const ms = performance.now() - startedAt;
    await far.close();
    // Only the lower bound is certain: a busy machine may add any time to it.
    expect(ms).toBeGreaterThan(118);
  });
});
