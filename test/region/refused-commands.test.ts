/** Tests regions whose user may not run one of the commands that scripts use. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RoundResult } from '../../shared/contracts/round.ts';
import { readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  commitOf,
  executed,
  flush,
  increment,
  part,
  prepareOf,
  publish,
  read,
  roundOf,
  set,
  write,
} from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

const many = Array.from({ length: 3_000 }, (_, at) => `far${at}`);

describe('a server that refuses a command', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    const limited = server.redis.duplicate({
      username: 'limited',
      password: 'x',
      lazyConnect: true,
    });
    await server.redis.call('ACL', 'SETUSER', 'limited', 'on', '>x', '~*', '&*', '+@all');
    await limited.connect();
    client = connectDirectly(limited);
    stop = () => limited.disconnect();
  });
  let stop = () => {};
  beforeEach(async () => {
    await allow();
    await server.redis.flushall();
    await server.redis.set('n', '5');
    await server.redis.hset('h', 'f', '1');
    await send({});
  });
  afterAll(async () => {
    stop();
    await server.stop();
  });

  const allow = () => server.redis.call('ACL', 'SETUSER', 'limited', '+@all');
  const refuse = (command: string) => server.redis.call('ACL', 'SETUSER', 'limited', `-${command}`);
  const round = (given: Parameters<typeof roundOf>[0]): Promise<RoundResult> =>
    client.round(roundOf(given), 0);
  const send = async (given: Parameters<typeof roundOf>[0]) => executed(await round(given));
  const values = (...keys: readonly string[]) => server.redis.mget(...keys);

  it('sets the keys of commits one by one if they may not be set together', async () => {
    const prepares = ['a', 'b'].map((key, at) => prepareOf(at + 1, [key], part(set(key, 'v'))));
    await send({ prepares });
    await refuse('mset');
    const { decisions } = await send({ decisions: [commitOf(1, ['a']), commitOf(2, ['b'])] });
    expect(decisions).toEqual(['acknowledged', 'acknowledged']);
    expect(await values('a', 'b')).toEqual(['v', 'v']);
  });

  it('does so without memory as well', async () => {
    await send({ prepares: [prepareOf(1, ['a'], part(set('a', 'v')))] });
    await refuse('mset');
    await server.redis.config('SET', 'maxmemory', '1');
    const result = await round({ decisions: [commitOf(1, ['a'])] });
    await server.redis.config('SET', 'maxmemory', '0');
    expect(executed(result).decisions).toEqual(['acknowledged']);
    expect(await values('a')).toEqual(['v']);
  });

  it.each(['pexpiretime', 'mget', 'getrange'])(
    'refuses no other write of a round than those that need `%s`',
    async (command) => {
      await refuse(command);
      const numbers = Array.from({ length: 20 }, (_, at) => `n${at}`);
      const prepares = [
        prepareOf(1, ['a'], part(set('a', 'v'))),
        prepareOf(2, numbers, part(...numbers.map(increment), read(['GET', 'n0']))),
      ];
      const { votes } = await send({ prepares });
      expect(votes[0]?.kind).toBe('yes');
      expect(['yes', 'refused']).toContain(votes[1]?.kind);
    },
  );

  it('refuses a commit of a shadow without RENAME, and carries it out later', async () => {
    await send({
      prepares: [prepareOf(1, ['h', 'a'], part(write('HSET', 'h', 'f', '2'), set('a', 'v')))],
    });
    await refuse('rename');
    const decisions = [commitOf(1, ['h', 'a'])];
    expect((await send({ decisions })).decisions).toEqual(['refused']);
    expect((await readState(server.redis))?.settled).toBe('');
    await allow();
    expect((await send({ decisions })).decisions).toEqual(['acknowledged']);
    expect([await server.redis.hget('h', 'f'), await server.redis.get('a')]).toEqual(['2', 'v']);
  });

  it('deletes every key one by one without FLUSHDB', async () => {
    await send({ prepares: [prepareOf(1, [...flush.args, 'a'], part(flush, set('a', 'v')))] });
    await refuse('flushdb');
    const { decisions } = await send({ decisions: [commitOf(1, [...flush.args, 'a'])] });
    expect(decisions).toEqual(['acknowledged']);
    expect((await server.redis.keys('*')).sort()).toEqual(['a', 'lockstep:0:state']);
  });

  it('commits without PUBLISH, and loses the message', async () => {
    const keys = ['lockstep:channel:news', 'a'];
    await send({ prepares: [prepareOf(1, keys, part(publish('news', 'x'), set('a', 'v')))] });
    await refuse('publish');
    expect((await send({ decisions: [commitOf(1, keys)] })).decisions).toEqual(['acknowledged']);
    expect(await values('a')).toEqual(['v']);
  });

  it('answers no prepare whose locks find no place, and knows nothing of it afterwards', async () => {
    await refuse('hset');
    const prepares = [prepareOf(1, many, part(...many.map((key) => set(key, 'v'))))];
    expect(await round({ prepares })).toMatchObject({ kind: 'silent' });
    const { decisions } = await send({ decisions: [abortOf(1, many)] });
    expect(decisions).toEqual(['acknowledged']);
    expect((await readLocks(server.redis)).size).toBe(0);
    const again = await send({ prepares: [prepareOf(2, ['far0'], part(set('far0', 'w')))] });
    expect(again.votes[0]?.kind).toBe('yes');
    expect((await readState(server.redis))?.hasFarLocks).toBe(false);
  });

  it('applies a commit once whose locks may not be removed', async () => {
    await send({ prepares: [prepareOf(1, many, part(...many.map((key) => set(key, 'v'))))] });
    await refuse('hdel');
    const decisions = [commitOf(1, many)];
    expect(await round({ decisions })).toMatchObject({ kind: 'silent' });
    expect(await values('far0', 'far2999')).toEqual(['v', 'v']);
    await server.redis.set('far0', 'changed');
    await allow();
    expect((await send({ decisions })).decisions).toEqual(['acknowledged']);
    expect(await values('far0')).toEqual(['changed']);
    expect((await readLocks(server.redis)).size).toBe(0);
  });

  it('is silent if its state may not be written, and changes nothing', async () => {
    await refuse('set');
    const before = await readState(server.redis);
    const prepares = [prepareOf(1, ['a'], part(set('a', 'v')))];
    expect(await round({ prepares })).toMatchObject({ kind: 'silent' });
    expect(await readState(server.redis)).toEqual(before);
  });
});
