/** Tests messages whose server refuses a part of the commit. claims/messages.ts has the other claims. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Decision, Prepare } from '../../shared/contracts/round.ts';
import { readLocks } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import { commitOf, executed, part, prepareOf, publish, roundOf, set } from './fixtures.ts';
import { listenerOf } from './implementations.ts';
import { startRedisServer, type TestServer } from './servers.ts';

describe('a message, if the server refuses a part of its commit', () => {
  let server: TestServer;
  let all: RegionClient;
  let listener: Awaited<ReturnType<typeof listenerOf>>;
  const others: Redis[] = [];

  beforeAll(async () => {
    server = await startRedisServer();
    all = connectDirectly(server.redis);
    listener = await listenerOf(server.redis);
  });

  beforeEach(() => server.redis.flushall());

  afterAll(async () => {
    listener.stop();
    for (const redis of others) redis.disconnect();
    await server.stop();
  });

  /** A client with all permissions except those that `rules` take away. */
  async function limited(...rules: readonly string[]): Promise<RegionClient> {
    const username = `limited-${others.length}`;
    const given = ['on', 'nopass', '~*', '&*', '+@all', ...rules];
    await server.redis.call('ACL', 'SETUSER', username, ...given);
    const redis = server.redis.duplicate({ username, password: 'any' });
    others.push(redis);
    return connectDirectly(redis);
  }

  const send = async (
    client: RegionClient,
    given: { readonly prepares?: readonly Prepare[]; readonly decisions?: readonly Decision[] },
  ) => executed(await client.round(roundOf(given), 0));

  it('waits until the server accepts the whole commit, and is published once then', async () => {
    // A key that no script declares, as it is no UTF-8: the server refuses it only as it is set.
    const keys = [channelKey('news'), 'k\udc80'];
    const refused = prepareOf(1, keys, part(publish('news', 'refused'), set('k\udc80', 'v')));
    const taken = prepareOf(2, [channelKey('other')], part(publish('other', 'taken')));
    await send(all, { prepares: [refused, taken] });
    const decisions = [commitOf(1, keys), commitOf(2, [channelKey('other')])];
    const withoutSet = await limited('resetkeys', '~lockstep:*');
    expect((await send(withoutSet, { decisions })).decisions).toEqual(['refused', 'acknowledged']);
    expect(await listener.published()).toEqual(['other taken']);
    expect((await send(all, { decisions })).decisions).toEqual(['acknowledged', 'acknowledged']);
    expect(await listener.published()).toEqual(['news refused']);
    expect(await server.redis.get(Buffer.from([0x6b, 0x80]))).toBe('v');
  });

  it('is lost in a channel that its user may not publish in, and the write stands', async () => {
    const keys = [channelKey('news'), 'k'];
    const operations = [publish('news', 'lost'), set('k', 'v')];
    await send(all, { prepares: [prepareOf(1, keys, part(...operations))] });
    const silenced = await limited('resetchannels');
    const decisions = [commitOf(1, keys)];
    expect((await send(silenced, { decisions })).decisions).toEqual(['acknowledged']);
    expect(await listener.published()).toEqual([]);
    expect(await server.redis.get('k')).toBe('v');
    expect((await readLocks(server.redis)).size).toBe(0);
  });
});
