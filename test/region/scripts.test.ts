/** Tests details of the Lua scripts that the model does not have: their records, commands and memory. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, everyScript } from '../../functions/region/lua-bundle.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { CopyStep } from '../../shared/contracts/round.ts';
import { readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  checked,
  command,
  commitOf,
  del,
  executed,
  flush,
  increment,
  outcomesOf,
  part,
  pop,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import { servers, startRedisServer, type TestServer } from './servers.ts';

/** Names that a text can still declare in its outermost block, of which Lua takes 200. */
const namesLeft = 20;

describe('the texts of the scripts in redis-server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.stop());

  const texts = everyScript.map((script) => [script.name, script] as const);
  it.each(texts)('load, with room for more names: %s', async (_, { text }) => {
    const names = Array.from({ length: namesLeft }, (__, index) => `spare${index}`);
    const longer = `local ${names.join(',')}\n${text}`;
    expect(await server.redis.script('LOAD', longer)).toBe(await digestOf(longer));
    expect(await server.redis.script('LOAD', text)).toBe(await digestOf(text));
  });
});

describe.each(servers)('the scripts in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const keysHeld = async () => (await server.redis.keys('*')).sort();

  it('keep staged values under names of their own shard', async () => {
    const operations = [set('inline', '1'), increment('shadow'), write('SADD', 's', 'a', 'b')];
    await send({ prepares: [prepareOf(1, ['inline', 'shadow', 's'], part(...operations))] });
    const names = ['shadow:1.1:s', 'shadow:1.1:shadow', 'state'];
    expect(await keysHeld()).toEqual(names.map((name) => `lockstep:0:${name}`));
  });

  it('leave no shadow or backup behind after a commit, an abort, or undone parts', async () => {
    const fails = part(increment('m'), increment('n'), set('s', '1'), del('n'), write('HSET', 'n'));
    const undone = checked({ kind: 'equals', key: 'n', value: 'no' }, increment('n'));
    const fine = part(increment('n'), pop('s', '1', 5), set('n', '7'));
    const over = part(write('LPUSH', 'l', 'x'));
    const parts = [part(increment('n')), over, fails, undone, fails, fine, part(set('l', '1'))];
    const keys = ['n', 's', 'm', 'l'];
    await server.redis.sadd('s', 'a', 'b', 'c');
    const reply = await send({ prepares: [prepareOf(1, keys, ...parts)] });
    expect(reply.votes[0]?.kind).toBe('yes');
    await send({ decisions: [commitOf(1, keys)] });
    await send({ prepares: [prepareOf(2, keys, ...parts)] });
    await send({ decisions: [abortOf(2, keys)] });
    expect(await keysHeld()).toEqual(['l', 'lockstep:0:state', 'n', 's']);
    expect(await server.redis.get('n')).toBe('7');
  });

  it('forget settled transactions once the low watermark has passed them', async () => {
    await send({ decisions: [abortOf(1, ['a']), abortOf(2, ['a']), abortOf(3, ['a'])] });
    await send({ lowWatermark: [1, 2] });
    expect((await readState(server.redis))?.settled).toBe('1.3-3,');
  });

  it('vote refused and leave nothing if staging fails half-way', async () => {
    const parts = [part(increment('n')), part(increment('not listed'))];
    const reply = await send({
      prepares: [prepareOf(1, ['n'], ...parts), prepareOf(2, ['n'], part(increment('n')))],
    });
    expect(reply.votes.map((vote) => vote.kind)).toEqual(['refused', 'yes']);
    await send({ decisions: [abortOf(2, ['n'])] });
    expect(await keysHeld()).toEqual(['lockstep:0:state']);
  });

  it('report a commit whose shadow is gone as lost, and change none of its keys', async () => {
    const operations = [set('inline', '1'), write('SADD', 'n', 'x'), write('SADD', 'm', 'x')];
    await send({ prepares: [prepareOf(1, ['inline', 'n', 'm'], part(...operations))] });
    await send({ prepares: [prepareOf(2, ['other'], part(increment('other')))] });
    await server.redis.del('lockstep:0:shadow:1.1:n');
    const decisions = [commitOf(1, ['inline', 'n', 'm']), commitOf(2, ['other'])];
    expect((await send({ decisions })).decisions).toEqual(['lost', 'acknowledged']);
    expect(await server.redis.exists('inline', 'n', 'm')).toBe(0);
    expect(await server.redis.get('other')).toBe('1');
    expect((await readLocks(server.redis)).size).toBe(3);
  });

  it('return nothing usable if the shard’s own keys have another type', async () => {
    await server.redis.hset('lockstep:0:state', 'field', 'value');
    const result = await client.round(roundOf({}), 0);
    expect(result).toMatchObject({ kind: 'silent', reason: expect.stringContaining('WRONGTYPE') });
    const read = await client.snapshot(snapshotOf(['k'], [command(['GET', 'k'])]), 0);
    expect(read).toMatchObject({ kind: 'silent', reason: expect.stringContaining('WRONGTYPE') });
  });

  it('execute a round at its limits: many keys in one transaction and many in one round', async () => {
    const keys = Array.from({ length: 9_001 }, (_, index) => `k${index}`);
    const operations = keys.map((key) => set(key, '1'));
    const reply = await send({ prepares: [prepareOf(1, keys, part(...operations))] });
    expect(reply.votes[0]?.kind).toBe('yes');
    expect((await send({ decisions: [commitOf(1, keys)] })).decisions).toEqual(['acknowledged']);
    expect(await server.redis.exists(...keys)).toBe(keys.length);
    expect((await readLocks(server.redis)).size).toBe(0);
  });
});

describe.each(servers)('the scripts of a copy in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const copying = async (copy: CopyStep) => (await send({ role: 'copying', copy })).copy;
  const begin: CopyStep = { kind: 'begin', token: 'token', number: 1, replaces: [] };
  const keysHeld = async () => (await server.redis.keys('*')).sort();

  it('drop the shadows of the locks that a copy drops', async () => {
    const operations = [set('inline', '1'), increment('shadow')];
    await send({ prepares: [prepareOf(1, ['inline', 'shadow'], part(...operations))] });
    await send({ decisions: [abortOf(2, ['other'])] });
    await copying(begin);
    expect(await keysHeld()).toEqual(['lockstep:0:state']);
  });

  it('delete unreferenced keys while they list a target, and only then', async () => {
    const stale = ['shadow:1.1:k', 'backup:1.1:k', 'copy:k'].map((name) => `lockstep:0:${name}`);
    for (const name of [...stale, 'lockstep:1:copy:k', 'lockstep:0:else', 'k']) {
      await server.redis.set(name, '1');
    }
    const list: CopyStep = { kind: 'list', cursor: '0', count: 100 };
    const listed = (await send({ copy: list })).copy;
    expect(listed).toEqual({ kind: 'listed', keys: ['k'], cursor: null });
    expect(await server.redis.exists(...stale)).toBe(stale.length);
    await copying(begin);
    expect(await copying(list)).toEqual(listed);
    const left = ['k', 'lockstep:0:else', 'lockstep:0:state', 'lockstep:1:copy:k'];
    expect(await keysHeld()).toEqual(left);
  });

  it('report a value that the server refuses, and write the others', async () => {
    await copying(begin);
    const data = ['[2,"bad",-1,["00ff"]]', '[1,"good",-1,"1"]', '[0,"gone",-1,0]'];
    const written = await copying({ kind: 'write', token: 'token', number: 2, data });
    expect(written).toEqual({
      kind: 'written',
      failed: [{ key: 'bad', reason: expect.stringMatching(/ERR/) }],
    });
    expect(await server.redis.get('good')).toBe('1');
    expect(await keysHeld()).toEqual(['good', 'lockstep:0:state']);
  });

  it('leave no piece if a whole value takes its place', async () => {
    await copying(begin);
    const piece = '[3,"k",-1,"list",1,0,0,["a"],0]';
    const wholes = ['[0,"k",-1,0]', '[1,"k",-1,"v"]', '[3,"k",-1,"list",1,1,0,["b"],0]'];
    for (const [index, data] of wholes.entries()) {
      const number = index * 2 + 2;
      await copying({ kind: 'write', token: 'token', number, data: [piece] });
      expect(await keysHeld()).toContain('lockstep:0:copy:k');
      await copying({ kind: 'write', token: 'token', number: number + 1, data: [data] });
      expect(await keysHeld()).not.toContain('lockstep:0:copy:k');
    }
  });
});

describe('the scripts in redis-server', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));

  it('refuse to prepare without memory, and still commit prepared transactions', async () => {
    await server.redis.set('n', '41');
    const keys = ['n', 'inline'];
    await send({ prepares: [prepareOf(1, keys, part(increment('n'), set('inline', '1')))] });
    await server.redis.config('SET', 'maxmemory', '1');
    try {
      const full = await send({ prepares: [prepareOf(2, ['x'], part(set('x', '1')))] });
      const reason = 'OOM out of memory';
      expect(full.votes).toEqual([{ kind: 'denied', code: 'OOM', reason, part: 0 }]);
      expect(full.isFull).toBe(true);
      const reply = await send({ decisions: [commitOf(1, keys)] });
      expect(reply.decisions).toEqual(['acknowledged']);
      expect(await server.redis.mget('n', 'inline')).toEqual(['42', '1']);
    } finally {
      await server.redis.config('SET', 'maxmemory', '0');
    }
    const after = await send({ prepares: [prepareOf(3, ['x'], part(set('x', '1')))] });
    expect(after.votes[0]?.kind).toBe('yes');
  });

  it('write only the removals of a copy without memory', async () => {
    const copying = async (copy: CopyStep) => (await send({ role: 'copying', copy })).copy;
    await server.redis.set('gone', '1');
    await copying({ kind: 'begin', token: 'token', number: 1, replaces: [] });
    await server.redis.config('SET', 'maxmemory', '1');
    try {
      const data = ['[1,"k",-1,"v"]', '[0,"gone",-1,0]'];
      const written = await copying({ kind: 'write', token: 'token', number: 2, data });
      expect(written).toMatchObject({ failed: [{ key: 'k', reason: 'OOM out of memory' }] });
      expect(await server.redis.exists('k', 'gone')).toBe(0);
    } finally {
      await server.redis.config('SET', 'maxmemory', '0');
    }
  });

  it('run one command per plain SET beyond the bookkeeping of a round', async () => {
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
    const prepares = keys.map((key, index) => prepareOf(index + 1, [key], part(set(key, 'v'))));
    const decisions = keys.map((key, index) => commitOf(index + 1, [key]));
    await send({});
    await server.redis.config('RESETSTAT');
    await send({ prepares });
    const afterPrepare = await commandsRun(server);
    await send({ decisions });
    expect(afterPrepare).toBeLessThanOrEqual(8);
    expect(await commandsRun(server)).toBeLessThanOrEqual(120);
  });

  it('replace each key by one command, without a separate delete', async () => {
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
    await server.redis.mset(keys.flatMap((key) => [key, '1']));
    const prepares = keys.map((key, index) => prepareOf(index + 1, [key], part(increment(key))));
    const decisions = keys.map((key, index) => commitOf(index + 1, [key]));
    await send({ prepares });
    await server.redis.config('RESETSTAT');
    await send({ decisions });
    expect(await commandsRun(server)).toBeLessThanOrEqual(120);
    expect(await server.redis.info('commandstats')).not.toMatch(/cmdstat_(unlink|del):/);
    expect(await server.redis.mget(keys)).toEqual(keys.map(() => '2'));
  });

  it('return the key itself if the reply names the key that it popped from', async () => {
    await server.redis.rpush('list', 'x', 'y');
    const args = ['LMPOP', '2', 'none', 'list', 'LEFT'];
    const operation = { ...write(...args), writes: [2, 3] };
    const reply = await send({ prepares: [prepareOf(1, ['none', 'list'], part(operation))] });
    expect(outcomesOf(reply.votes[0])).toBe('[[0,["list",["x"]]]]');
  });

  it('refuse a transaction over all keys while there is a lock that a scan does not find at once', async () => {
    const keys = Array.from({ length: 600 }, (_, index) => `k${index}`);
    await send({
      prepares: [prepareOf(1, keys, part(...keys.map((key) => set(key, 'a value of some bytes'))))],
    });
    const lock = 'lockstep:0:lock';
    for (;;) {
      const [, found] = await server.redis.hscan(lock, 0, 'COUNT', 1);
      if (found.length === 0) break;
      await server.redis.hdel(lock, ...found.filter((_, index) => index % 2 === 0));
    }
    expect(await server.redis.hlen(lock)).toBeGreaterThan(0);
    const reply = await send({ prepares: [prepareOf(2, flush.args, part(flush))] });
    expect(reply.votes).toMatchObject([{ kind: 'locked', holder: [1, 1] }]);
  });

  it('write nothing for a round that carries nothing new', async () => {
    await send({ lowWatermark: [1, 1], epoch: 2 });
    await server.redis.config('RESETSTAT');
    await send({ lowWatermark: [1, 1], epoch: 2, askOlder: true });
    const stats = await server.redis.info('commandstats');
    expect(stats).not.toMatch(/cmdstat_(hset|zadd|zremrangebyscore|hdel)/);
  });
});

/**
 * Commands that ran since the last RESETSTAT, those of the scripts included, but not those that read the statistics.
 */
async function commandsRun({ redis }: TestServer): Promise<number> {
  const stats = await redis.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)];
  const own = /^(info|config)/;
  const counted = calls.filter(([, name = '']) => !own.test(name) || name === 'info');
  const sum = counted.reduce((total, [, , count]) => total + Number(count), 0);
  return sum;
}
