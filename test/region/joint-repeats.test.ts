/** Joint rounds that come twice, that name a shard without a state, or that meet a full server. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JointRound } from '../../shared/contracts/joint.ts';
import type { Decision, Part, Round } from '../../shared/contracts/round.ts';
import type { Share } from '../../shared/contracts/share.ts';
import { connectDirectly } from './direct.ts';
import { executed, part, roundOf, set } from './fixtures.ts';
import { type Implementation, implementations } from './implementations.ts';
import { startRedisServer, type TestServer } from './servers.ts';

const home: Share = { shard: 4, transaction: [1, 1], keys: ['a'] };
const guest: Share = { shard: 7, transaction: [1, 5], keys: ['b'] };
const commit: Decision = {
  transaction: home.transaction,
  outcome: 'commit',
  keys: home.keys,
  otherShares: [guest],
};
const sets = [part(set('a', '1'), set('b', '2'))];

/** `decisions` are those of home's round. */
function jointOf(
  shares: readonly Share[],
  parts: readonly Part[],
  decisions: readonly Decision[] = [],
): JointRound {
  const rounds = shares.map(
    ({ shard }): Round => roundOf({ shard, decisions: shard === home.shard ? decisions : [] }),
  );
  return { rounds, prepare: { now: Date.now(), shares, parts } };
}

describe.each(implementations)('joint rounds in %s', (_, open) => {
  let region: Implementation;
  beforeAll(async () => {
    region = await open();
  });
  beforeEach(() => region.wipe());
  afterAll(() => region.stop());

  it('that come again are duplicates while their locks stand, and late after the commit', async () => {
    const request = jointOf([home, guest], sets);
    expect(await region.joint(request)).toMatchObject({ vote: { kind: 'yes' } });
    expect(await region.joint(request)).toMatchObject({
      vote: { kind: 'objected', shard: home.shard, by: { kind: 'duplicate' } },
    });
    const result = await region.round(roundOf({ shard: home.shard, decisions: [commit] }));
    expect(executed(result).decisions).toEqual(['acknowledged']);
    expect(await region.joint(request)).toMatchObject({
      vote: { kind: 'objected', shard: home.shard, by: { kind: 'late' } },
    });
    expect(await region.run('GET', 'b')).toBe('"2"');
  });

  it('whose commit names a share of a shard without a state apply the others', async () => {
    const stranger: Share = { shard: 9, transaction: [1, 1], keys: ['c'] };
    await region.joint(jointOf([home, guest], sets));
    const decisions = [{ ...commit, otherShares: [stranger, guest] }];
    const result = await region.round(roundOf({ shard: home.shard, decisions }));
    expect(executed(result).decisions).toEqual(['acknowledged']);
    expect(await region.run('GET', 'a')).toBe('"1"');
    expect(await region.run('GET', 'b')).toBe('"2"');
    expect(await region.run('EXISTS', 'lockstep:9:state')).not.toBe('1');
  });
});

describe('a joint round on a full redis-server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.stop());

  it('applies all shares of its decisions, and stages nothing', async () => {
    const client = connectDirectly(server.redis);
    await client.joint(jointOf([home, guest], sets), 0);
    const later = [
      { ...home, transaction: [1, 2], keys: ['c'] },
      { ...guest, transaction: [1, 6], keys: ['d'] },
    ] as const;
    await server.redis.config('SET', 'maxmemory', '1');
    try {
      const parts = [part(set('c', '1'), set('d', '2'))];
      const result = await client.joint(jointOf(later, parts, [commit]), 0);
      expect(result).toMatchObject({ kind: 'executed', vote: { kind: 'denied', code: 'OOM' } });
      expect(await server.redis.mget('a', 'b', 'c', 'd')).toEqual(['1', '2', null, null]);
    } finally {
      await server.redis.config('SET', 'maxmemory', '0');
    }
    const again = await client.round(roundOf({ shard: home.shard, decisions: [commit] }), 0);
    expect(executed(again).decisions).toEqual(['acknowledged']);
    expect(await server.redis.mget('a', 'b', 'c', 'd')).toEqual(['1', '2', null, null]);
    expect(await server.redis.keys('lockstep:*shadow*')).toEqual([]);
  });
});
