/** Runs the doctor's script checks against real servers, with altered replies. */
import { createServer, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CommandRunner } from '../../functions/edge/doctor/check.ts';
import { scriptChecks } from '../../functions/edge/doctor/script-checks.ts';
import { connectRegion } from '../../functions/region/client.ts';
import { type Gateway, startGateway } from '../../local/gateway/gateway.ts';
import { servers, startRedisServer, type TestServer } from '../region/servers.ts';

const token = 'token of a test';
const timeoutMs = 5_000;

let server: TestServer;
let gateway: Gateway;
/** A proxy of the gateway, which changes its responses. */
let layer: Server;
let url: string;
let change: (answer: string, command: readonly string[]) => string;

beforeAll(async () => {
  server = await startRedisServer();
  gateway = await startGateway({ redisPort: server.port, token, roundTripMs: 0 });
  await gateway.ready();
  layer = createServer(async (request, response) => {
    const body = await text(request);
    const { authorization = '' } = request.headers;
    const headers = { authorization, 'upstash-encoding': 'base64' };
    const answer = await fetch(`${gateway.url}${request.url}`, { method: 'POST', headers, body });
    response.writeHead(answer.status).end(change(await answer.text(), JSON.parse(body)));
  });
  await new Promise<void>((resolve) => layer.listen(0, '127.0.0.1', resolve));
  const address = layer.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});

beforeEach(async () => {
  change = (answer) => answer;
  await server.redis.flushall();
});

afterAll(async () => {
  layer.close();
  await gateway.close();
  await server.stop();
});

async function look(): Promise<ReadonlyMap<string, { status: string; found: string }>> {
  const client = connectRegion({ id: 'here', url, token });
  const run: CommandRunner = (...command) => client.run(command, timeoutMs);
  const checks = await scriptChecks(run, 'runId', Date.now());
  for (const { status, advice } of checks) if (status !== 'ok') expect(advice).toMatch(/\w{3}/);
  return new Map(checks.map(({ name, ...check }) => [name, check]));
}

const base64 = (bytes: string) => Buffer.from(bytes, 'latin1').toString('base64');

describe('the doctor on a redis-server', () => {
  it('runs rounds and snapshots, finds no problem, and leaves nothing behind', async () => {
    await server.redis.set('k', 'v');
    await server.redis.set('lockstep:0:meta', 'not looked at');
    const checks = await look();
    expect([...checks].filter(([, { status }]) => status !== 'ok')).toEqual([]);
    expect([...checks.keys()]).toEqual(
      expect.arrayContaining([
        'round',
        'user scripts',
        'cluster',
        'undeclared keys',
        'Lua',
        'REST replies',
      ]),
    );
    expect((await server.redis.keys('*')).sort()).toEqual(['k', 'lockstep:0:meta']);
  });

  it('leaves nothing behind after a round that fails', async () => {
    await server.redis.call('ACL', 'SETUSER', 'default', '-pexpireat', '-hmget');
    try {
      const checks = await look();
      expect(checks.get('round')).toMatchObject({ status: 'problem' });
      expect(await server.redis.keys('*')).toEqual([]);
    } finally {
      await server.redis.call('ACL', 'SETUSER', 'default', '+@all');
    }
  });

  it.each<[string, string, (answer: string, command: readonly string[]) => string]>([
    ['REST replies', 'nils within arrays', (answer) => answer.replace('[1,null,', '[1,')],
    ['REST replies', 'arrays within arrays', (answer) => answer.replace('[]', 'null')],
    ['REST replies', 'bytes', (answer) => answer.replace(base64('\xc3\xa9\0"'), base64('?\0"'))],
    [
      'REST replies',
      '64-bit integers',
      (answer) => answer.replace('9007199254740993', '9007199254740992'),
    ],
    [
      'REST replies',
      'errors',
      (answer) => answer.replace(/\{"error":"ERR of the doctor[^}]*\}/, '{"result":null}'),
    ],
    [
      'REST replies',
      'errors within arrays',
      (answer, command) =>
        command[1]?.startsWith('return {1, {err') ? '{"result":[1,null]}' : answer,
    ],
    [
      'Lua',
      'raw bytes through cjson, unpack of 4,000',
      (answer, command) =>
        command[1]?.includes('goto as a name')
          ? JSON.stringify({
              result: ['raw bytes through cjson', 'unpack of 4,000'].map(base64),
            })
          : answer,
    ],
    [
      'cluster',
      'CROSSSLOT',
      (answer, command) =>
        command[2] === '2'
          ? '{"error":"CROSSSLOT Keys in request don\'t hash to the same slot"}'
          : answer,
    ],
    [
      'cluster',
      'cluster mode',
      (answer, command) =>
        command[1] === 'cluster'
          ? JSON.stringify({ result: base64('# Cluster\r\ncluster_enabled:1\r\n') })
          : answer,
    ],
    [
      'undeclared keys',
      'undeclared',
      (answer, command) =>
        command[1]?.includes(':undeclared')
          ? '{"error":"ERR script tried accessing undeclared key"}'
          : answer,
    ],
    [
      'round',
      'does not prepare',
      (answer, command) =>
        command[2] === '5' ? answer.replace(`["${base64('y')}"`, `["${base64('t')}"`) : answer,
    ],
    [
      'user scripts',
      'Error compiling',
      (answer, command) =>
        (command[1]?.length ?? 0) > 150_000 ? '{"error":"ERR Error compiling script"}' : answer,
    ],
  ])('reports a problem with %s: %s', async (name, found, fault) => {
    change = fault;
    expect((await look()).get(name)).toEqual({
      status: 'problem',
      found: expect.stringContaining(found),
      advice: expect.any(String),
    });
  });

  it('warns of missing libraries that only users’ scripts need', async () => {
    change = (answer, command) =>
      command[1]?.includes('goto as a name')
        ? JSON.stringify({ result: [base64('cmsgpack')] })
        : answer;
    expect((await look()).get('Lua')).toMatchObject({ status: 'warning' });
  });
});

describe.each(servers)('the doctor on %s', (_, start) => {
  it('finds no problem', async () => {
    const other = await start();
    const before = await startGateway({ redisPort: other.port, token, roundTripMs: 0 });
    try {
      await before.ready();
      const client = connectRegion({ id: 'here', url: before.url, token });
      const run: CommandRunner = (...command) => client.run(command, timeoutMs);
      const checks = await scriptChecks(run, 'runId', Date.now());
      expect(checks.filter(({ status }) => status === 'problem')).toEqual([]);
      expect(await other.redis.keys('*')).toEqual([]);
    } finally {
      await before.close();
      await other.stop();
    }
  });
});
