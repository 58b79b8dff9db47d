/** The rules of a region for several shards, one by one, in the model and in the scripts. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeRound } from '../../functions/region/encoding.ts';
import { encodeJoint } from '../../functions/region/joint-encoding.ts';
import { roundScriptFor } from '../../functions/region/lua-bundle.ts';
import type {
  JointResult,
  JointRound,
  JointRoundReply,
  JointSnapshotRequest,
} from '../../shared/contracts/joint.ts';
import type { Decision, Part, Round } from '../../shared/contracts/round.ts';
import type { Share } from '../../shared/contracts/share.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { slotOf } from '../../shared/shards/slots.ts';
import { connectDirectly } from './direct.ts';
import {
  command,
  executed,
  flush,
  part,
  publish,
  roundOf,
  script,
  set,
  write,
} from './fixtures.ts';
import { type Implementation, implementations } from './implementations.ts';
import { startRedisServer, type TestServer } from './servers.ts';
import { stoppingAt } from './stopping.ts';

const base = Date.now();

/** Shards 4 and 7 of these tests: neither has the number that the only shard has. */
const [home, guest] = [4, 7] as const;

function shareOf(shard: number, sequence: number, ...keys: readonly string[]): Share {
  return { shard, transaction: [1, sequence], keys };
}

/** A joint round with one fresh round per share; `given` overrides their members by shard. */
function jointOf(
  shares: readonly Share[],
  parts: readonly Part[],
  given: Readonly<Record<number, Partial<Round>>> = {},
): JointRound {
  const rounds = shares.map(({ shard }) => roundOf({ shard, ...given[shard] }));
  return { rounds, prepare: { now: base, shares, parts } };
}

/** The commit of the first share, which names the others. */
function commitOfShares([own, ...otherShares]: readonly Share[]): Decision {
  if (own === undefined) throw new Error('there is a share');
  return { transaction: own.transaction, outcome: 'commit', keys: own.keys, otherShares };
}

function voteOf(result: JointResult) {
  if (result.kind !== 'executed') throw new Error(`not executed: ${JSON.stringify(result)}`);
  return result.vote;
}

function lastNonce(reply: JointRoundReply | undefined): string {
  if (reply?.kind !== 'executed') throw new Error(`not executed: ${JSON.stringify(reply)}`);
  return reply.reply.history.at(-1)?.[1] ?? '';
}

const transfer = [shareOf(home, 1, 'a'), shareOf(guest, 5, 'b')];
const sets = [part(set('a', '1'), set('b', '2'))];

function readOf(given: Partial<JointSnapshotRequest> = {}): JointSnapshotRequest {
  return {
    strong: true,
    leased: false,
    shards: [
      { shard: home, generation: 1, lastAcknowledged: null, settle: [], keys: ['a'] },
      { shard: guest, generation: 1, lastAcknowledged: null, settle: [], keys: ['b'] },
    ],
    commands: [command(['GET', 'a']), command(['GET', 'b'])],
    ...given,
  };
}

describe.each(implementations)('several shards in %s', (_, open) => {
  let region: Implementation;
  beforeAll(async () => {
    region = await open();
  });
  beforeEach(() => region.wipe());
  afterAll(() => region.stop());
  const decide = async (shard: number, ...decisions: readonly Decision[]) =>
    executed(await region.round(roundOf({ shard, decisions }))).decisions;

  it('stage a joint transaction with one yes, and each shard commits its share', async () => {
    expect(voteOf(await region.joint(jointOf(transfer, sets)))).toMatchObject({ kind: 'yes' });
    expect(await region.run('GET', 'a')).toBe('null');
    for (const { shard, transaction, keys } of transfer) {
      expect(await decide(shard, { transaction, outcome: 'commit', keys })).toEqual([
        'acknowledged',
      ]);
    }
    expect(await region.run('GET', 'a')).toBe('"1"');
    expect(await region.run('GET', 'b')).toBe('"2"');
  });

  it('stage nothing if one shard objects, and say so behind the nonce of each', async () => {
    const inTheWay = {
      transaction: [1, 4],
      keys: ['b'],
      now: base,
      parts: [part(set('b', '9'))],
    } as const;
    await region.round(roundOf({ shard: guest, prepares: [inTheWay] }));
    const given = { [home]: { nonce: 'home' }, [guest]: { nonce: 'guest' } };
    const result = await region.joint(jointOf(transfer, sets, given));
    const by = { kind: 'locked', key: 'b', holder: [1, 4] };
    expect(voteOf(result)).toEqual({ kind: 'objected', shard: guest, by });
    if (result.kind !== 'executed') return;
    expect(result.replies.map(lastNonce)).toEqual([
      expect.stringMatching(/^home\.[0-9a-f]{8}$/),
      expect.stringMatching(/^guest\.[0-9a-f]{8}$/),
    ]);
    // Home's key is free.
    const alone = {
      transaction: [1, 2],
      keys: ['a'],
      now: base,
      parts: [part(set('a', '3'))],
    } as const;
    const { votes } = executed(await region.round(roundOf({ shard: home, prepares: [alone] })));
    expect(votes[0]?.kind).toBe('yes');
  });

  it('leave another nonce if the same request is refused after the region has gone back', async () => {
    await region.round(roundOf({ shard: guest }));
    const goBack = await region.backupWhole();
    const round = jointOf(transfer, sets, { [home]: { nonce: 'mark' } });
    const first = await region.joint(round);
    await goBack();
    await region.round(roundOf({ shard: guest, lowWatermark: [1, 5], incarnation: 1 }));
    const second = await region.joint(round);
    if (first.kind !== 'executed' || second.kind !== 'executed') throw new Error('both run');
    expect(second.vote).toMatchObject({ kind: 'objected', shard: guest, by: { kind: 'late' } });
    expect(lastNonce(first.replies[0])).toBe('mark');
    expect(lastNonce(second.replies[0])).not.toBe('mark');
  });

  it('judge each round by its own shard: a refused one objects, and the others are executed', async () => {
    const kept = { transaction: [1, 1], outcome: 'abort', keys: ['a'] } as const;
    const given = {
      [home]: { decisions: [kept] },
      [guest]: { lastAcknowledged: [9, 'm'] as const },
    };
    const shares = [shareOf(home, 2, 'a'), shareOf(guest, 5, 'b')];
    await region.round(roundOf({ shard: guest }));
    const result = await region.joint(jointOf(shares, sets, given));
    expect(voteOf(result)).toEqual({ kind: 'objected', shard: guest, by: { kind: 'round' } });
    if (result.kind !== 'executed') return;
    expect(result.replies[0]).toMatchObject({ reply: { decisions: ['acknowledged'] } });
    expect(result.replies[1]).toEqual({ kind: 'refused', refusal: { kind: 'lost' } });
  });

  it('stage nothing after a decision that found less than it should', async () => {
    const lost = { transaction: [1, 4], outcome: 'commit', keys: ['b'] } as const;
    const result = await region.joint(jointOf(transfer, sets, { [guest]: { decisions: [lost] } }));
    expect(voteOf(result)).toEqual({ kind: 'objected', shard: guest, by: { kind: 'decision' } });
  });

  it('apply all shares with the commit of one, which settles the others', async () => {
    await region.joint(jointOf(transfer, sets));
    expect(await decide(home, commitOfShares(transfer))).toEqual(['acknowledged']);
    expect(await region.run('GET', 'b')).toBe('"2"');
    expect(await decide(guest, commitOfShares(transfer.toReversed()))).toEqual(['acknowledged']);
    const late = await region.joint(jointOf([shareOf(home, 2, 'a'), shareOf(guest, 5, 'b')], sets));
    expect(voteOf(late)).toEqual({ kind: 'objected', shard: guest, by: { kind: 'late' } });
  });

  it('apply a share alone if not all locks of the other are here', async () => {
    await region.joint(jointOf(transfer, sets));
    await decide(guest, { transaction: [1, 5], outcome: 'abort', keys: ['b'] });
    expect(await decide(home, commitOfShares(transfer))).toEqual(['acknowledged']);
    expect(await region.run('GET', 'a')).toBe('"1"');
    expect(await region.run('GET', 'b')).toBe('null');
  });

  it('apply all shares when a reader brings the commit', async () => {
    await region.joint(jointOf(transfer, sets));
    const met = await region.jointSnapshot(readOf());
    expect(met).toMatchObject({
      replies: [null, null],
      locks: [
        { shard: home, key: 'a', holder: [1, 1] },
        { shard: guest, key: 'b', holder: [1, 5] },
      ],
    });
    const settle = [commitOfShares(transfer)];
    const shards = readOf().shards.map((each, at) => (at === 0 ? { ...each, settle } : each));
    const read = await region.jointSnapshot(readOf({ shards }));
    expect(read).toEqual({ kind: 'read', replies: ['1', '2'], locks: [], unnamed: [] });
  });

  it('apply the shares in a snapshot of one shard too', async () => {
    await region.joint(jointOf(transfer, sets));
    const { locks } = { locks: [] };
    const read = await region.snapshot({
      ...{ shard: home, generation: 1, strong: true, leased: false, lastAcknowledged: null },
      ...{ settle: [commitOfShares(transfer)], keys: ['a'], commands: [command(['GET', 'a'])] },
    });
    expect(read).toEqual({ kind: 'read', replies: ['1'], locks });
    expect(await region.run('GET', 'b')).toBe('"2"');
  });

  it('publish the messages of all shares in their order', async () => {
    const shares = [
      shareOf(home, 1, 'lockstep:channel:x'),
      shareOf(guest, 5, 'lockstep:channel:y'),
    ];
    const parts = [part(publish('y', '1'), publish('x', '2'), publish('y', '3'))];
    await region.joint(jointOf(shares, parts));
    await decide(home, commitOfShares(shares));
    expect(await region.published()).toEqual(['y 1', 'x 2', 'y 3']);
  });

  it('read only with the lease of every shard', async () => {
    const lease = { reading: base, ttlMs: 3_600_000 };
    await region.round(roundOf({ shard: home, lease }));
    await region.round(roundOf({ shard: guest }));
    const refused = await region.jointSnapshot(readOf({ leased: true }));
    expect(refused).toEqual({ kind: 'refused', shard: guest, refusal: { kind: 'lease' } });
    await region.round(roundOf({ shard: guest, lease }));
    expect(await region.jointSnapshot(readOf({ leased: true }))).toMatchObject({ kind: 'read' });
  });

  describe('a flush', () => {
    const half = Math.max(slotOf('a').number, slotOf('b').number);
    const [slotsOfA, slotsOfB] =
      slotOf('a').number < half
        ? [[[0, half - 1]] as const, [[half, 16_383]] as const]
        : [[[half, 16_383]] as const, [[0, half - 1]] as const];
    const keys = [everyKey, flushedKey];
    const shares: readonly Share[] = [
      { shard: home, transaction: [1, 1], keys, slots: slotsOfA },
      { shard: guest, transaction: [1, 5], keys, slots: slotsOfB },
    ];
    const fill = async () => {
      await region.run('SET', 'a', '1');
      await region.run('SET', 'b', '2');
    };

    it('empties the slots of the shares that are whole', async () => {
      await fill();
      expect(voteOf(await region.joint(jointOf(shares, [part(flush)])))).toMatchObject({
        kind: 'yes',
      });
      await decide(guest, { transaction: [1, 5], outcome: 'abort', keys });
      await decide(home, commitOfShares(shares));
      expect(await region.run('GET', 'a')).toBe('null');
      expect(await region.run('GET', 'b')).toBe('"2"');
    });

    it('empties everything if the shares cover all slots, and keeps the states of all shards', async () => {
      const lease = { reading: base, ttlMs: 3_600_000 };
      await region.round(roundOf({ shard: 9, nonce: 'ninth', epoch: 3 }));
      await fill();
      const given = { [home]: { lease }, [guest]: { lease } };
      await region.joint(jointOf(shares, [part(flush)], given));
      await decide(home, commitOfShares(shares));
      expect(await region.run('GET', 'a')).toBe('null');
      expect(await region.run('GET', 'b')).toBe('null');
      expect(await region.jointSnapshot(readOf({ leased: true }))).toMatchObject({ kind: 'read' });
      const ninth = await region.round(roundOf({ shard: 9, lastAcknowledged: [1, 'ninth'] }));
      expect(ninth.kind).toBe('executed');
      expect(await decide(guest, commitOfShares(shares.toReversed()))).toEqual(['acknowledged']);
    });

    it('that is aborted frees the shard, in a plain round too', async () => {
      await fill();
      await region.joint(jointOf(shares, [part(flush)]));
      for (const { shard, transaction } of shares) {
        expect(await decide(shard, { transaction, outcome: 'abort', keys })).toEqual([
          'acknowledged',
        ]);
      }
      expect(await region.run('GET', 'a')).toBe('"1"');
    });
  });
});

describe('several shards on redis-server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  it('name the keys that a script of a joint transaction touches and no share lists', async () => {
    const client = connectDirectly(server.redis);
    const touching = script("redis.call('SET', 'c', '1') return redis.call('GET', 'a')", []);
    const result = await client.joint(jointOf(transfer, [part(touching)]), 0);
    expect(voteOf(result)).toMatchObject({ kind: 'unlisted', parts: [{ part: 0, keys: ['c'] }] });
  });

  it('show a script the staged keys of all shares', async () => {
    const client = connectDirectly(server.redis);
    const keys = [everyKey];
    const shares: readonly Share[] = [
      { ...shareOf(home, 1, ...keys, 'a'), slots: [[0, 8_000]] },
      { ...shareOf(guest, 5, ...keys, 'b'), slots: [[8_001, 16_383]] },
    ];
    const both = script(
      "redis.call('SADD', 'a', 'x') redis.call('SADD', 'b', 'y') return redis.call('KEYS', '*')",
    );
    const vote = voteOf(await client.joint(jointOf(shares, [part(both)]), 0));
    expect(JSON.stringify(vote)).toContain('$1\\r\\na\\r\\n$1\\r\\nb');
  });

  it('merge a large collection that another shard has staged', async () => {
    const client = connectDirectly(server.redis);
    await server.redis.sadd('b', ...Array.from({ length: 500 }, (_, at) => `m${at}`));
    const parts = [part(set('a', '1'), write('SADD', 'b', 'more'))];
    await client.joint(jointOf(transfer, parts), 0);
    const decisions = [{ transaction: [1, 5], outcome: 'commit', keys: ['b'] } as const];
    await client.round(roundOf({ shard: guest, decisions }), 0);
    expect(await server.redis.scard('b')).toBe(501);
    expect(await server.redis.sismember('b', 'more')).toBe(1);
    expect(await server.redis.keys('lockstep:*shadow*')).toEqual([]);
  });

  it('name the keys of a reading script that belong to no shard of the request', async () => {
    const client = connectDirectly(server.redis);
    for (const shard of [home, guest]) await client.round(roundOf({ shard }), 0);
    const half = Math.min(slotOf('a').number, slotOf('b').number);
    const [first, second] = slotOf('a').number === half ? ['a', 'b'] : ['b', 'a'];
    const slots = [[0, half]] as const;
    const text = "return { redis.call('GET', KEYS[1]), redis.call('GET', ARGV[1]) }";
    const { args } = script(text, [first], [second]);
    const [sha = '', source = ''] = args;
    const eval_ = { args: ['EVAL_RO', sha, source, '1', first, second], reads: [4], reply: null };
    const shard = {
      shard: home,
      generation: 1,
      lastAcknowledged: null,
      settle: [],
      keys: [first],
      slots,
    };
    const read = await client.jointSnapshot(readOf({ shards: [shard], commands: [eval_] }), 0);
    expect(read).toMatchObject({ kind: 'read', unnamed: [second] });
    const counted = readOf({
      shards: [shard],
      commands: [{ args: ['DBSIZE'], reads: [], reply: null }],
    });
    expect(await client.jointSnapshot(counted, 0)).toMatchObject({ unnamed: [everyKey] });
  });

  it('empty exactly the slots that Redis Cluster counts', async () => {
    const client = connectDirectly(server.redis);
    const names = Array.from(
      { length: 300 },
      (_, at) => `${at % 3 === 0 ? '{}' : ''}k{${at}}é${at}`,
    );
    for (const name of names) await server.redis.set(name, '1');
    const keys = [everyKey, flushedKey];
    const shares: readonly Share[] = [
      {
        shard: home,
        transaction: [1, 1],
        keys,
        slots: [
          [0, 99],
          [3_000, 9_000],
        ],
      },
      {
        shard: guest,
        transaction: [1, 5],
        keys,
        slots: [
          [100, 2_999],
          [9_001, 16_383],
        ],
      },
    ];
    await client.joint(jointOf(shares, [part(flush)]), 0);
    const abort = { transaction: [1, 5], outcome: 'abort', keys } as const;
    await client.round(roundOf({ shard: guest, decisions: [abort] }), 0);
    await client.round(roundOf({ shard: home, decisions: [commitOfShares(shares)] }), 0);
    const isKept = (name: string) => {
      const slot = slotOf(name).number;
      return !(slot <= 99 || (slot >= 3_000 && slot <= 9_000));
    };
    const left = (await server.redis.keys('*')).filter((name) => !name.startsWith('lockstep:'));
    expect(left.toSorted()).toEqual(names.filter(isKept).toSorted());
  });

  it('commit all shares without memory, and stage nothing that takes memory', async () => {
    const client = connectDirectly(server.redis);
    const later = [shareOf(home, 2, 'c'), shareOf(guest, 6, 'd')];
    const shadows = [part(write('HSET', 'a', 'f', '1'), write('SADD', 'b', 'x'))];
    await client.joint(jointOf(transfer, shadows), 0);
    await server.redis.config('SET', 'maxmemory', '1');
    try {
      const denied = await client.joint(jointOf(later, [part(set('c', '1'), set('d', '2'))]), 0);
      expect(voteOf(denied)).toMatchObject({ kind: 'denied', code: 'OOM', part: 0 });
      const decisions = [commitOfShares(transfer)];
      const result = await client.round(roundOf({ shard: home, decisions }), 0);
      expect(executed(result).decisions).toEqual(['acknowledged']);
    } finally {
      await server.redis.config('SET', 'maxmemory', '0');
    }
    expect(await server.redis.hget('a', 'f')).toBe('1');
    expect(await server.redis.smembers('b')).toEqual(['x']);
    expect(await server.redis.keys('lockstep:*shadow*')).toEqual([]);
  });

  it('send a decision as before unless it names other shares', () => {
    const commit = commitOfShares(transfer);
    const { otherShares: _, ...alone } = commit;
    expect(encodeRound(roundOf({ decisions: [alone] }))).toContain(',[[1,1,1,["a"]]],');
    expect(encodeRound(roundOf({ decisions: [commit] }))).toContain(
      ',[[1,1,1,["a"],[[7,1,5,["b"]]]]],',
    );
    expect(encodeJoint(jointOf(transfer, sets))).toMatch(
      /^\[\[\[.*\],\[.*\]\],\d+,\[\[4,1,1,\["a"\],""\],\[7,1,5,\["b"\],""\]\],\[\[\[\],\[.*\]\]\],1\]$/,
    );
  });

  it('leave the text of a plain round without any of this', () => {
    const commit = commitOfShares(transfer);
    const { otherShares: _, ...alone } = commit;
    const plain = roundScriptFor(roundOf({ decisions: [alone] }));
    expect(plain.text).not.toContain('enterShard');
    expect(roundScriptFor(roundOf({ decisions: [commit] })).text).toContain('enterShard');
  });

  it('cost a region no more commands than half as many per further shard', async () => {
    const runs = async (send: (at: number) => Promise<{ readonly kind: string }>) => {
      let at = 1;
      for (; (await send(at)).kind === 'silent'; at += 1) await server.redis.flushall();
      await server.redis.flushall();
      return at - 1;
    };
    const stopping = (at: number) =>
      connectDirectly(server.redis, (text) => `${stoppingAt(at)}${text}`);
    const keys = ['a', 'b', 'c', 'd'];
    const begin = async (shards: number) => {
      for (let shard = 0; shard < shards; shard += 1) {
        await connectDirectly(server.redis).round(roundOf({ shard }), 0);
      }
    };
    const parts = [part(...keys.map((key) => set(key, '1')))];
    const one = await runs(async (at) => {
      await begin(1);
      const prepares = [{ transaction: [1, 1], keys, now: base, parts } as const];
      return stopping(at).round(roundOf({ prepares }), 0);
    });
    for (const count of [2, 3, 4]) {
      const shares = Array.from({ length: count }, (_, shard) =>
        shareOf(
          shard,
          1,
          ...(shard === count - 1 ? keys.slice(shard) : keys.slice(shard, shard + 1)),
        ),
      );
      const several = await runs(async (at) => {
        await begin(count);
        return stopping(at).joint(jointOf(shares, parts), 0);
      });
      const committed = await runs(async (at) => {
        await begin(count);
        await connectDirectly(server.redis).joint(jointOf(shares, parts), 0);
        return stopping(at).round(roundOf({ shard: 0, decisions: [commitOfShares(shares)] }), 0);
      });
      expect([count, several]).toEqual([count, 2]);
      expect([count, committed]).toEqual([count, 3]);
      expect(Math.max(several, committed)).toBeLessThanOrEqual(one * (1 + 0.5 * (count - 1)));
    }
  });
});
