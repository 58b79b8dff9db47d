/** Stops the scripts of joint rounds, and of the commits that name other shares, at each of their commands. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { JointRound } from '../../shared/contracts/joint.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Decision, DecisionReply } from '../../shared/contracts/round.ts';
import type { Share } from '../../shared/contracts/share.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { connectDirectly } from './direct.ts';
import { executed, flush, increment, part, publish, roundOf, set, write } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';
import { stoppingAt } from './stopping.ts';

interface Scene {
  readonly name: string;
  readonly shares: readonly Share[];
  readonly operations: readonly Operation[];
  /** The commands of the commit's script that lead to a loss if the script stops at them: the region is then copied. */
  readonly lossAt: readonly number[];
  /** A shard that has no share. */
  readonly another?: number;
}

function shareOf(shard: number, ...keys: readonly string[]): Share {
  return { shard, transaction: [1, shard], keys };
}

const long = 'x'.repeat(10_000);

const all = [everyKey, flushedKey];
const halves: readonly Share[] = [
  { ...shareOf(1, ...all), slots: [[0, 8_000]] },
  { ...shareOf(2, ...all), slots: [[8_001, 16_383]] },
];

const scenes: readonly Scene[] = [
  {
    name: 'plain values',
    shares: [shareOf(1, 'k'), shareOf(2, 'n'), shareOf(3, 'm')],
    operations: [set('k', 'v'), increment('n'), set('m', 'w')],
    lossAt: [],
  },
  {
    name: 'far locks',
    shares: [shareOf(1, 'k'), shareOf(2, 'm')],
    operations: [set('k', long), set('m', long)],
    lossAt: [],
  },
  {
    name: 'shadows',
    shares: [shareOf(1, 'h'), shareOf(2, 's')],
    operations: [write('HSET', 'h', 'f', '2'), write('SADD', 's', 'b')],
    lossAt: [5, 6],
  },
  {
    name: 'a merge and a value',
    shares: [shareOf(1, 'large'), shareOf(2, 'k')],
    operations: [write('SADD', 'large', 'more'), set('k', 'v')],
    lossAt: [],
  },
  {
    name: 'messages',
    shares: [shareOf(1, 'lockstep:channel:news'), shareOf(2, 'k')],
    operations: [publish('news', 'text'), set('k', 'v')],
    lossAt: [],
  },
  { name: 'every key', shares: halves, operations: [flush], lossAt: [7] },
  {
    name: 'every key beside another shard',
    shares: halves,
    operations: [flush],
    lossAt: [],
    another: 3,
  },
];

describe('a script for several shards that stops', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
  });
  /** Gives the server the keys of the scenes, and the shards of one that have begun. */
  async function fill({ shares, another }: Scene): Promise<void> {
    await server.redis.flushall();
    await server.redis.set('n', '5');
    await server.redis.hset('h', 'f', '1');
    await server.redis.sadd('s', 'a');
    await server.redis.sadd('large', ...Array.from({ length: 500 }, (_, at) => `m${at}`));
    const shards = shares.map(({ shard }) => shard);
    for (const shard of another === undefined ? shards : [...shards, another]) {
      await client.round(roundOf({ shard }), 0);
    }
  }
  afterAll(() => server.stop());

  const jointOf = ({ shares, operations }: Scene): JointRound => ({
    rounds: shares.map(({ shard }) => roundOf({ shard })),
    prepare: { now: Date.now(), shares, parts: [part(...operations)] },
  });

  const stopped = (at: number) => connectDirectly(server.redis, (text) => stoppingAt(at) + text);

  async function decide(shard: number, decision: Decision): Promise<DecisionReply | undefined> {
    const result = await client.round(roundOf({ shard, decisions: [decision] }), 0);
    return executed(result).decisions[0];
  }

  async function contents(): Promise<readonly string[]> {
    const names = (await server.redis.keys('*')).filter((name) => !name.endsWith(':state')).sort();
    return Promise.all(
      names.map(async (name) => `${name} ${(await server.redis.dump(name))?.length ?? ''}`),
    );
  }

  const commitOf = (shares: readonly Share[], own: Share): Decision => ({
    transaction: own.transaction,
    outcome: 'commit',
    keys: own.keys,
    otherShares: shares.filter((share) => share !== own),
  });

  it.each(scenes)('as it prepares $name leaves nothing once each shard aborts', async (scene) => {
    await fill(scene);
    const before = await contents();
    let at = 1;
    for (; ; at += 1) {
      await fill(scene);
      if ((await stopped(at).joint(jointOf(scene), 0)).kind !== 'silent') break;
      for (const { shard, transaction, keys } of scene.shares) {
        expect([at, await decide(shard, { transaction, outcome: 'abort', keys })]).toEqual([
          at,
          'acknowledged',
        ]);
      }
      expect([at, await contents()]).toEqual([at, before]);
    }
    expect(at).toBeGreaterThan(2);
  });

  it.each(scenes)('as it commits $name is carried on by any shard', async (scene) => {
    const [first] = scene.shares;
    if (first === undefined) throw new Error('there is a share');
    await fill(scene);
    await client.joint(jointOf(scene), 0);
    await decide(first.shard, commitOf(scene.shares, first));
    const whole = await contents();
    for (const [index, again] of scene.shares.entries()) {
      const losses: number[] = [];
      for (let at = 1; ; at += 1) {
        await fill(scene);
        await client.joint(jointOf(scene), 0);
        const decisions = [commitOf(scene.shares, first)];
        const result = await stopped(at).round(roundOf({ shard: first.shard, decisions }), 0);
        if (result.kind !== 'silent') break;
        const order = [again, ...scene.shares.filter((share) => share !== again)];
        const replies: (DecisionReply | undefined)[] = [];
        for (const share of order)
          replies.push(await decide(share.shard, commitOf(scene.shares, share)));
        if (replies.includes('lost')) {
          losses.push(at);
          continue;
        }
        expect([at, replies]).toEqual([at, order.map(() => 'acknowledged')]);
        expect([at, await contents()]).toEqual([at, whole]);
      }
      expect([index, losses]).toEqual([index, scene.lossAt]);
    }
  });
});
