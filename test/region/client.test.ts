/** Tests a region's client over HTTP: its requests, its retries, and malformed responses. */
import { createServer, type Server } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectRegion } from '../../functions/region/client.ts';
import { type Gateway, startGateway } from '../../local/gateway/gateway.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import {
  command,
  commitOf,
  executed,
  increment,
  outcomesOf,
  part,
  prepareOf,
  roundOf,
  script,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { servers, type TestServer } from './servers.ts';

const token = 'token of a test';
const timeoutMs = 5_000;

describe.each(servers)('a region client of %s', (_, start) => {
  let server: TestServer;
  let gateway: Gateway;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    gateway = await startGateway({ redisPort: server.port, token, roundTripMs: 0 });
    await gateway.ready();
  });
  beforeEach(async () => {
    await server.redis.flushall();
    client = connectRegion({ id: 'here', url: gateway.url, token });
  });
  afterEach(() => gateway.faults.clear());
  afterAll(async () => {
    await gateway.close();
    await server.stop();
  });

  const send = (given: Parameters<typeof roundOf>[0]) => client.round(roundOf(given), timeoutMs);
  const incr = (sequence: number) => prepareOf(sequence, ['n'], part(increment('n')));

  it('runs rounds and snapshots in one request each once the server knows the script', async () => {
    const keys = ['é', 'n'];
    const parts = [part(set('é', '"\0😀'), increment('n'))];
    const first = executed(await send({ prepares: [prepareOf(1, keys, ...parts)] }));
    expect(outcomesOf(first.votes[0])).toBe('[[0,{"s":"OK"},1]]');
    gateway.meter.reset();
    await send({ decisions: [commitOf(1, keys)] });
    expect(gateway.meter.requests).toBe(1);
    const request = snapshotOf(keys, [command(['GET', 'é'])]);
    const result = await client.snapshot(request, timeoutMs);
    expect(result).toMatchObject({ kind: 'read', locks: [] });
    expect(result.kind === 'read' && result.replies).toEqual([
      Buffer.from('"\0😀').toString('latin1'),
    ]);
  });

  it('inspects keys, copies bytes, and runs plain commands', async () => {
    const bytes = Buffer.from([0, 34, 92, 127, 195, 169, 255, 0x2f]);
    const key = bytes.toString('latin1');
    await server.redis.set(bytes, bytes);
    const inspect = () => client.inspect(0, { kind: 'keys', keys: [key] }, timeoutMs);
    const before = await inspect();
    expect(before).toMatchObject({ keys: [{ key, digest: expect.any(String), holder: null }] });
    const keys = [{ key, from: '' }];
    const reply = executed(await send({ copy: { kind: 'read', keys, form: 'dump' } }));
    const data = reply.copy?.kind === 'read' ? reply.copy.items.map((item) => item.data) : [];
    const begin = { kind: 'begin', token: 'token', number: 1, replaces: [] } as const;
    await send({ role: 'copying', copy: begin });
    await server.redis.del(bytes);
    const write = { kind: 'write', token: 'token', number: 2, data } as const;
    const written = executed(await send({ role: 'copying', copy: write }));
    expect(written.copy).toEqual({ kind: 'written', failed: [] });
    expect(await inspect()).toEqual(before);
    await server.redis.set('text', 'é');
    const got = await client.run(['GET', 'text'], timeoutMs);
    expect(got).toEqual({ kind: 'answered', reply: 'é' });
    const unknown = await client.run(['NOSUCH', 'x'], timeoutMs);
    expect(unknown).toMatchObject({ kind: 'error', message: expect.stringContaining('NOSUCH') });
  });

  it('runs concurrent rounds that are sent before the server knows the script', async () => {
    const prepares = [1, 2, 3].map((index) => [
      prepareOf(index, [`k${index}`], part(set(`k${index}`, '1'))),
    ]);
    const results = await Promise.all(prepares.map((items) => send({ prepares: items })));
    expect(results.map((result) => executed(result).votes[0]?.kind)).toEqual(['yes', 'yes', 'yes']);
  });

  it('sends at most 50 kB with the first plain write to a server that knows no text', async () => {
    await server.redis.script('FLUSH');
    gateway.meter.reset();
    expect(outcomesOf(executed(await send({ prepares: [incr(1)] })).votes[0])).toBe('[[0,1]]');
    expect(gateway.meter.bytesIn).toBeLessThan(50_000);
    gateway.meter.reset();
    await send({ prepares: [prepareOf(2, ['m'], part(increment('m')))] });
    expect([gateway.meter.requests, gateway.meter.bytesIn < 1_000]).toEqual([1, true]);
  });

  it('sends at most 10 kB with a new client’s write or read to a server that knows the text', async () => {
    const read = snapshotOf(['n'], [command(['GET', 'n'])]);
    await send({ prepares: [incr(1)] });
    await client.snapshot(read, timeoutMs);
    for (const run of [
      (cold: RegionClient) => cold.round(roundOf({ decisions: [commitOf(1, ['n'])] }), timeoutMs),
      (cold: RegionClient) => cold.snapshot(read, timeoutMs),
    ]) {
      gateway.meter.reset();
      const result = await run(connectRegion({ id: 'here', url: gateway.url, token }));
      expect(result.kind).not.toBe('silent');
      expect(gateway.meter.bytesIn).toBeLessThan(10_000);
      // A server that does not support flags first gets the flagged text, and then a request for its features.
      expect(gateway.meter.requests).toBeLessThanOrEqual(3);
    }
  });

  it('sends each text with the first round that needs it, and not again', async () => {
    await server.redis.script('FLUSH');
    const texts: number[] = [];
    const kinds = [
      [incr(1)],
      [prepareOf(2, ['h'], part(write('HSET', 'h', 'f', 'v')))],
      [prepareOf(3, ['s'], part(script("return redis.call('SET', KEYS[1], 'v')", ['s'])))],
    ];
    for (const prepares of kinds) {
      gateway.meter.reset();
      expect(executed(await send({ prepares })).votes[0]?.kind).toBe('yes');
      texts.push(gateway.meter.bytesIn);
    }
    for (const size of texts) expect(size).toBeGreaterThan(20_000);
    gateway.meter.reset();
    await send({ decisions: [commitOf(1, ['n']), commitOf(2, ['h']), commitOf(3, ['s'])] });
    expect(gateway.meter.bytesIn).toBeLessThan(1_000);
    expect(await server.redis.mget('n', 's')).toEqual(['1', 'v']);
  });

  it('sends the whole text again to a server that has lost the script', async () => {
    await send({});
    await server.redis.script('FLUSH');
    expect(outcomesOf(executed(await send({ prepares: [incr(1)] })).votes[0])).toBe('[[0,1]]');
  });

  it('is silent and does not retry if the response is lost after the round ran', async () => {
    await send({});
    for (const kind of ['drop', 'hang'] as const) {
      gateway.faults.add({ fault: { kind, executed: true }, times: 1 });
      gateway.meter.reset();
      const lost = await client.round(roundOf({ prepares: [incr(1)] }), 200);
      expect(lost.kind).toBe('silent');
      expect(gateway.meter.requests).toBe(1);
    }
    const again = executed(await send({ prepares: [incr(1)] }));
    expect(again.votes).toEqual([{ kind: 'duplicate' }]);
  });

  it('is silent on every invalid response, and works again after it', async () => {
    for (const answer of ['page', 'broken-json', 'status-500'] as const) {
      gateway.faults.add({ fault: { kind: 'garbage', executed: false, answer }, times: 1 });
      expect((await send({ prepares: [incr(1)] })).kind).toBe('silent');
    }
    expect((await send({ prepares: [incr(1)] })).kind).toBe('executed');
  });

  it('reports that there was no answer in time', async () => {
    gateway.faults.add({ fault: { kind: 'hang', executed: false }, times: 2 });
    const result = await client.round(roundOf({}), 50);
    expect(result).toEqual({ kind: 'silent', reason: 'no answer in time' });
    const read = await client.snapshot(snapshotOf([], []), 50);
    expect(read).toEqual({ kind: 'silent', reason: 'no answer in time', isUnanswered: true });
  });

  it('is silent with a wrong token, and if nothing listens', async () => {
    const stranger = connectRegion({ id: 'here', url: gateway.url, token: 'wrong' });
    expect((await stranger.round(roundOf({}), timeoutMs)).kind).toBe('silent');
    const nobody = connectRegion({ id: 'here', url: 'http://127.0.0.1:1', token });
    expect((await nobody.round(roundOf({}), timeoutMs)).kind).toBe('silent');
    const noPlace = connectRegion({ id: 'here', url: 'not a url', token });
    expect((await noPlace.round(roundOf({}), timeoutMs)).kind).toBe('silent');
  });
});

describe('a region client of another kind of server', () => {
  let answer = '';
  let status = 200;
  let server: Server;
  let client: RegionClient;
  beforeAll(async () => {
    server = createServer((_, response) => response.writeHead(status).end(answer));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    client = connectRegion({ id: 'here', url: `http://127.0.0.1:${port}`, token });
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const answers: readonly (readonly [status: number, body: string])[] = [
    [200, 'null'],
    [200, '[]'],
    [200, '{"result":null}'],
    [200, '{"result":7}'],
    [200, '{"result":"OK"}'],
    [200, '{"result":"{}"}'],
    [200, '{"result":"{\\"d\\":\\"\\",\\"v\\":[[\\"d\\"]],\\"m\\":[],\\"o\\":[],\\"t\\":0}"}'],
    [200, '{"result":"{\\"d\\":\\"x\\",\\"v\\":[],\\"m\\":[],\\"o\\":[],\\"t\\":0}"}'],
    [200, '{"error":"ERR max requests limit exceeded"}'],
    [400, '{"error":"OOM command not allowed"}'],
    [400, 'null'],
    [500, ''],
    [404, '<html>'],
  ];

  it.each(answers)('is silent when it answers %i %s', async (givenStatus, body) => {
    [status, answer] = [givenStatus, body];
    const round = await client.round(roundOf({}), timeoutMs);
    // An error of the server itself is reported with its code (R31).
    const code = body.includes('OOM') ? { code: 'OOM' } : {};
    expect(round).toEqual({ kind: 'silent', reason: expect.any(String), ...code });
    const read = await client.snapshot(snapshotOf([], []), timeoutMs);
    // The read may have been carried out, unless only the script's reply is malformed.
    const { isUnanswered, ...rest } = { isUnanswered: undefined, ...read };
    expect([true, undefined]).toContain(isUnanswered);
    expect(rest).toEqual({ kind: 'silent', reason: expect.any(String) });
    const seen = await client.inspect(0, { kind: 'locks', count: 1 }, timeoutMs);
    expect(seen).toEqual({ kind: 'silent', reason: expect.any(String) });
  });

  const probe = '"d":"","v":[],"m":[],"o":[],"t":0';
  const others = [
    `{${probe},"k":null,"c":null,"z":null}`,
    `{${probe},"k":null,"c":["f","other"],"z":null}`,
    `{${probe},"k":null,"c":["r",[["k"]],[],[],null,null],"z":null}`,
    `{${probe},"k":1,"c":["b"],"z":null}`,
    `{${probe},"k":null,"c":["b"]}`,
    `{${probe}}`,
  ];

  it.each(others)('is silent to a copy step when the script answers %s', async (text) => {
    [status, answer] = [200, JSON.stringify({ result: text })];
    const copy = { kind: 'list', cursor: '0', count: 1 } as const;
    const round = await client.round(roundOf({ copy }), timeoutMs);
    expect(round).toEqual({ kind: 'silent', reason: expect.any(String) });
  });
});
