/** Tests a region's state from older and from later releases. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RoundResult } from '../../shared/contracts/round.ts';
import { changeState, lockKey, readLocks, readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  command,
  commitOf,
  executed,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from './fixtures.ts';
import { servers, type TestServer } from './servers.ts';

/** The hash in which formats 1 and 2 kept the state, and their sorted set of settled transactions. */
const oldState = 'lockstep:0:meta';
const oldSettled = 'lockstep:0:done';

/** As release 0.1 leaves a region, but for its format. */
const left = {
  generation: '1',
  epoch: '1',
  incarnation: '1',
  floor: '1.2',
  counter: '3',
  history: 'a,b,c,',
  phase: '',
  copyNumber: '0',
};

// The region names the form of a later release, since a copy would overwrite a region that counts as lost.
describe.each(servers)('the state of a shard in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const round = (given: Parameters<typeof roundOf>[0]): Promise<RoundResult> =>
    client.round(roundOf(given), 0);
  const send = async (given: Parameters<typeof roundOf>[0]) => executed(await round(given));
  const prepare = (sequence: number, key: string) =>
    prepareOf(sequence, [key], part(set(key, 'v')));

  it.each([{}, { format: '2' }])(
    'of release 0.1 goes on in the present format: %o',
    async (format) => {
      // A plain SET, a copy, a large list and a message, all staged.
      await server.redis.hset(oldState, { ...left, ...format });
      await server.redis.zadd(oldSettled, 4294967299, '1.3', 4294967302, '1.6');
      const keys = ['plain', 'copied', 'gone', 'kept', 'lockstep:channel:news'];
      await server.redis.set('gone', '1');
      await server.redis.set('lockstep:0:shadow:1.5:copied', '42');
      await server.redis.hset(lockKey, {
        plain: '1.5|s||value',
        copied: '1.5|p|-1',
        gone: '1.5|d',
        kept: '1.5|k',
        'lockstep:channel:news': '1.5|m|1,4,2|newshi',
      });
      const reply = await send({
        lastAcknowledged: [3, 'c'],
        decisions: [commitOf(5, keys), commitOf(3, ['x'])],
      });
      expect(reply.decisions).toEqual(['acknowledged', 'acknowledged']);
      expect(reply.history.slice(0, 3)).toEqual([
        [1, 'a'],
        [2, 'b'],
        [3, 'c'],
      ]);
      expect(await server.redis.mget('plain', 'copied', 'gone')).toEqual(['value', '42', null]);
      expect(await readState(server.redis)).toMatchObject({
        format: 3,
        counter: 4,
        lowWatermark: '1.2',
      });
      expect((await readState(server.redis))?.settled).toBe('1.3-3,1.5-6,');
      expect(await server.redis.exists(lockKey, oldState, oldSettled)).toBe(0);
    },
  );

  it('that is new has no locks, even if those of a lost state are left', async () => {
    const many = Array.from({ length: 2_000 }, (_, at) => `k${at}`);
    await server.redis.hset(lockKey, { k0: '1.1|s||old', other: '1.7|s||old' });
    const prepares = [
      prepare(1, 'k0'),
      prepareOf(2, many.slice(1), part(...many.slice(1).map((key) => set(key, 'v')))),
    ];
    expect((await send({ prepares })).votes.map(({ kind }) => kind)).toEqual(['yes', 'yes']);
    expect((await send({ prepares: [prepare(3, 'other')] })).votes[0]?.kind).toBe('yes');
    await send({ decisions: [commitOf(1, ['k0'])] });
    expect(await server.redis.get('k0')).toBe('v');
  });

  it('of a later form makes the region refuse rounds and reads, name the form, and change nothing', async () => {
    await send({ prepares: [prepare(1, 'k')] });
    await changeState(server.redis, { format: 4 });
    const before = await readState(server.redis);
    const begins = {
      role: 'copying',
      copy: { kind: 'begin', token: 't', number: 1, replaces: [1] },
    } as const;
    for (const given of [{}, { decisions: [commitOf(1, ['k'])] }, { generation: 2, ...begins }]) {
      const result = await round(given);
      expect(result).toEqual({ kind: 'silent', reason: expect.stringContaining('later release') });
    }
    const read = await client.snapshot(snapshotOf(['k'], [command(['GET', 'k'])]), 0);
    expect(read).toEqual({ kind: 'silent', reason: expect.stringContaining('form 4') });
    expect(await readState(server.redis)).toEqual(before);
  });

  it.each(['z|what', 'e|q|-1|rest', ''])('keeps a lock whose intent is `%s`', async (intent) => {
    await send({ prepares: [prepare(1, 'k')] });
    await changeState(server.redis, { locks: new Map([['k', `1.1|${intent}`]]) });
    const committed = await send({ decisions: [commitOf(1, ['k'])] });
    expect(committed.decisions).toEqual(['unreadable']);
    const settle = snapshotOf(['k'], [], { settle: [commitOf(1, ['k'])] });
    expect(await client.snapshot(settle, 0)).toMatchObject({
      locks: [{ key: 'k', holder: [1, 1] }],
    });
    if (intent !== 'e|q|-1|rest') {
      const aborted = await send({ decisions: [abortOf(1, ['k'])] });
      expect(aborted.decisions).toEqual(['unreadable']);
    }
    expect((await readLocks(server.redis)).get('k')).toBe(`1.1|${intent}`);
  });
});
