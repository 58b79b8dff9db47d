/** Tests the bounds on the work of single commands, with a low bound. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { boundedRead, needsMeasure } from '../../functions/region/bounded-reads.ts';
import { compileReads, compileWrite } from '../../shared/commands/compile.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly } from './direct.ts';
import { abortOf, executed, outcomesOf, part, prepareOf, roundOf, snapshotOf } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** The number of steps that these tests allow, so that small values reach the bound. */
const allowed = 1_000;

function fewSteps(text: string): string {
  const bounds = `MOST_SCANNED=${limits.stepsPerCommand},`;
  if (text.includes('loadWork') && !text.includes(bounds)) throw new Error('the text has no bound');
  return text.replace(bounds, `MOST_SCANNED=${allowed},`);
}

const times = (count: number, word: string) => Array.from({ length: count }, () => word).join(' ');

/** Reads over values of 100 elements: one that fits the bound, and the next larger one, which does not. */
const reads: readonly (readonly [string, string])[] = [
  [`SUNION ${times(10, 's')}`, `SUNION ${times(11, 's')}`],
  [`SINTER ${times(18, 's')}`, `SINTER ${times(19, 's')}`],
  [`SDIFF ${times(18, 's')}`, `SDIFF ${times(19, 's')}`],
  [`SINTERCARD 18 ${times(18, 's')}`, `SINTERCARD 19 ${times(19, 's')}`],
  [`ZUNION 10 ${times(10, 'z')}`, `ZUNION 11 ${times(11, 'z')}`],
  [`ZUNION 10 ${times(10, 's')}`, `ZUNION 11 ${times(11, 's')}`],
  [`ZINTER 18 ${times(18, 'z')}`, `ZINTER 19 ${times(19, 'z')}`],
  [`ZINTERCARD 18 ${times(18, 'z')}`, `ZINTERCARD 19 ${times(19, 'z')}`],
  [`ZDIFF 18 ${times(18, 'z')}`, `ZDIFF 19 ${times(19, 'z')}`],
  [`SORT_RO z ${times(32, 'GET #')}`, `SORT_RO z ${times(33, 'GET #')}`],
  [`SORT_RO z LIMIT 0 10 ${times(40, 'GET #')}`, `SORT_RO z LIMIT 0 99 ${times(40, 'GET #')}`],
  ['LPOS l16000 none', 'LPOS l16016 none'],
  ['GEOSEARCH g2000 FROMMEMBER 1 BYRADIUS 1 m', 'GEOSEARCH g2002 FROMMEMBER 1 BYRADIUS 1 m'],
  ['GEORADIUS_RO g2000 0 0 1 m', 'GEORADIUS_RO g2002 0 0 1 m'],
];

/** Commands of a write, or of a script. The copies that staging makes count as well. */
const writes: readonly (readonly [string, string])[] = [
  [`SUNIONSTORE new ${times(10, 's')}`, `SUNIONSTORE new ${times(11, 's')}`],
  [`SUNIONSTORE s ${times(9, 's')}`, `SUNIONSTORE s ${times(10, 's')}`],
  [`SINTERSTORE new ${times(18, 's')}`, `SINTERSTORE new ${times(19, 's')}`],
  [`ZUNIONSTORE new 10 ${times(10, 'z')}`, `ZUNIONSTORE new 11 ${times(11, 'z')}`],
  [`ZDIFFSTORE new 18 ${times(18, 'z')}`, `ZDIFFSTORE new 19 ${times(19, 'z')}`],
  [`BITOP XOR new ${times(10, 'b')}`, `BITOP XOR new ${times(11, 'b')}`],
  [`SORT z ${times(28, 'GET #')} STORE z`, `SORT z ${times(29, 'GET #')} STORE z`],
  ['LREM l16000 0 none', 'LREM l16016 0 none'],
  ['LINSERT l16000 BEFORE none x', 'LINSERT l16016 BEFORE none x'],
  ['RENAME s1000 new', 'RENAME s1001 new'],
  ['RENAME s s', 'RENAME s s1000'],
  ['ZRANGESTORE new z2000 0 332', 'ZRANGESTORE new z2000 0 1500'],
  ['ZREMRANGEBYLEX z300 - +', 'ZREMRANGEBYLEX z2000 - +'],
  [
    'GEOSEARCHSTORE new g300 FROMMEMBER 1 BYRADIUS 1 m COUNT 1',
    'GEOSEARCHSTORE new g300 FROMMEMBER 1 BYRADIUS 1 m',
  ],
  ['SPOP s200 1', 'SPOP s1000 1'],
  ['SMEMBERS s200', 'SMEMBERS s1000'],
  ['HGETALL h200', 'HGETALL h1001'],
  ['ZRANGE z2000 0 400', 'ZRANGE z2000 0 -1'],
  ['ZRANGEBYSCORE z2000 1 400', 'ZRANGEBYSCORE z2000 -inf +inf'],
  ['ZRANGEBYSCORE z2000 -inf +inf LIMIT 0 9', 'ZREVRANGEBYSCORE z2000 +inf -inf'],
  ['LRANGE l16000 -9 -1', 'LRANGE l16000 0 -1'],
  ['ZPOPMIN z300 9', 'ZPOPMIN z2000 1500'],
  ['LPOP l16000 9', 'LPOP l16000 1500'],
  ['ZMPOP 2 new z300 MIN COUNT 9', 'ZMPOP 2 new z2000 MIN COUNT 1500'],
  ['XREAD COUNT 9 STREAMS x 0', 'XREAD STREAMS x 0'],
];

describe('the work of a command', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, fewSteps);
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    await server.redis.flushall();
    const { redis } = server;
    const fill = async (name: string, count: number, line: string) =>
      redis.eval(`for i = 1, ${count} do redis.call(${line}) end`, 1, name);
    await fill('s', 100, "'SADD', KEYS[1], i");
    for (const count of [200, 201, 1_000, 1_001]) {
      await fill(`s${count}`, count, "'SADD', KEYS[1], i");
      await fill(`h${count}`, count, "'HSET', KEYS[1], i, i");
    }
    for (const count of [16_000, 16_016]) await fill(`l${count}`, count, "'RPUSH', KEYS[1], i");
    await fill('z', 100, "'ZADD', KEYS[1], i, i");
    for (const count of [300, 2_000]) await fill(`z${count}`, count, "'ZADD', KEYS[1], i, i");
    for (const count of [300, 2_000, 2_002]) {
      await fill(`g${count}`, count, "'GEOADD', KEYS[1], i % 100, i % 50, i");
    }
    await fill('x', 300, "'XADD', KEYS[1], i, 'f', i");
    await redis.setrange('b', 99_999, 'x');
    await client.round(roundOf({}), 0);
  });

  const answer = async (words: readonly string[]): Promise<RawReply> => {
    const compiled = compileReads([words]);
    if (!compiled.ok) throw new Error(compiled.detail);
    const result = await client.snapshot(snapshotOf(compiled.keys, compiled.commands), 0);
    if (result.kind !== 'read') throw new Error(JSON.stringify(result));
    return result.replies[0] ?? null;
  };

  /** The vote's outcomes. At most the first of these commands fails the write. */
  const voteOn = async (...commands: readonly (readonly string[])[]): Promise<string> => {
    const compiled = compileWrite(commands, [], { now: Date.now(), seed: () => 7 });
    if (!compiled.ok) throw new Error(compiled.detail);
    sequence += 1;
    const words = commands.flat();
    const keys = [
      ...new Set([
        ...compiled.keys,
        ...words.filter((word) => /^(?:[bsx]|new|[ghlsz]\d+|z)$/.test(word)),
      ]),
    ];
    const prepare = prepareOf(sequence, keys, part(...compiled.operations));
    const { votes } = executed(await client.round(roundOf({ prepares: [prepare] }), 0));
    const aborts = roundOf({ decisions: [abortOf(sequence, keys)] });
    await client.round(aborts, 0);
    return outcomesOf(votes[0]);
  };

  const text = 'return redis.call(unpack(ARGV))';
  const tooMuch = `takes more than ${allowed} steps`;

  it.each(reads)('lets a snapshot read %s, and refuses %s', async (fits, exceeds) => {
    const isError = { error: expect.stringContaining(tooMuch) };
    expect(await answer(fits.split(' '))).not.toEqual(isError);
    expect(await answer(exceeds.split(' '))).toEqual(isError);
    const scripted = (words: string) => ['EVAL_RO', text, '0', ...words.split(' ')];
    expect(await answer(scripted(fits))).not.toMatchObject({ error: expect.anything() });
    expect(await answer(scripted(exceeds))).toEqual(isError);
  });

  it.each([...reads, ...writes])('lets a write run %s, and refuses %s', async (fits, exceeds) => {
    const failed = /^\[\[2,/;
    expect(await voteOn(fits.split(' '))).not.toMatch(failed);
    expect(await voteOn(exceeds.split(' '))).toContain(tooMuch);
    const scripted = (words: string) => ['EVAL', text, '0', ...words.split(' ')];
    expect(await voteOn(scripted(fits))).not.toMatch(failed);
    expect(await voteOn(scripted(exceeds))).toContain(tooMuch);
    expect(await server.redis.keys('lockstep:*:*:*')).toEqual([]);
  });

  it('includes staged elements, and the copy of a collection that was staged by elements', async () => {
    const union = (count: number, key: string) => ['SUNION', ...Array<string>(count).fill(key)];
    expect(await voteOn(union(5, 's200'))).not.toContain(tooMuch);
    expect(await voteOn(['SADD', 's200', 'new'], union(4, 's200'))).toContain(tooMuch);
    expect(await voteOn(['SREM', 's201', '1'], union(4, 's201'))).not.toContain(tooMuch);
    expect(await voteOn(['SADD', 's', 'new'], union(10, 's'))).toContain(tooMuch);
    expect(await voteOn(['DEL', 's200'], union(9, 's200'))).not.toContain(tooMuch);
  });

  it('includes the copy of a collection that a script changes, but none for commands on its elements', async () => {
    expect(await voteOn(['HSET', 'h1001', 'f', 'v'])).toBe('[[0,1]]');
    const scripted = (key: string) => ['EVAL', text, '0', 'HSET', key, 'f', 'v'];
    expect(await voteOn(scripted('h1000'))).toBe('[[0,1]]');
    expect(await voteOn(scripted('h1001'))).toContain(tooMuch);
  });

  it('is counted before a script draws from a collection or iterates over it or over all keys', async () => {
    for (const words of ['SRANDMEMBER s1000', 'HSCAN h1001 0', 'SPOP s1000']) {
      expect(await voteOn(['EVAL', text, '0', ...words.split(' ')])).toContain(tooMuch);
    }
    await server.redis.eval("for i = 1, 1000 do redis.call('SET', 'k' .. i, i) end", 0);
    for (const words of ['KEYS *', 'SCAN 0', 'DBSIZE', 'RANDOMKEY']) {
      expect(await voteOn(['EVAL', text, '0', ...words.split(' ')])).toContain(tooMuch);
    }
    expect(await answer(['KEYS', '*'])).toEqual({ error: expect.stringContaining(tooMuch) });
  });

  it.each([
    ['SMEMBERS s1000', 'SMEMBERS s1001'],
    ['HGETALL h1000', 'HGETALL h1001'],
    ['HKEYS h1000', 'HKEYS h1001'],
    ['HVALS h1000', 'HVALS h1001'],
  ])('lets a script in a snapshot read %s, and refuses %s', async (fits, exceeds) => {
    expect(await answer(['EVAL_RO', text, '0', ...fits.split(' ')])).not.toHaveProperty('error');
    const refused = await answer(['EVAL_RO', text, '0', ...exceeds.split(' ')]);
    expect(refused).toEqual({ error: expect.stringContaining(tooMuch) });
  });

  it('is measured for a whole collection that a snapshot reads beside many keys', async () => {
    const others = Array.from({ length: limits.keysReadUnmeasured }, (_, at) => ['GET', `k${at}`]);
    const compiled = compileReads([['HGETALL', 'h1001'], ['HGETALL', 'h200'], ...others]);
    if (!compiled.ok) throw new Error(compiled.detail);
    const result = await client.snapshot(snapshotOf(compiled.keys, compiled.commands), 0);
    const [refused, read] = result.kind === 'read' ? result.replies : [];
    expect(refused).toEqual({ error: expect.stringContaining(tooMuch) });
    expect(read).toHaveLength(400);
  });

  it('is no more than a small draw or a slice needs, in a snapshot', async () => {
    expect(await answer(['EVAL_RO', text, '0', 'SRANDMEMBER', 's1001', '3'])).toHaveLength(3);
    expect(await answer(['EVAL_RO', text, '0', 'SSCAN', 's1001', '0'])).toHaveLength(2);
  });

  it('is measured with one more command, and with none for a read or change of one element', async () => {
    const callsOf = async (body: () => Promise<unknown>) => {
      await server.redis.config('RESETSTAT');
      await body();
      const stats = await server.redis.info('commandstats');
      return ['scard', 'hlen', 'zcard', 'llen', 'strlen', 'type', 'xlen'].filter((name) =>
        stats.includes(`cmdstat_${name}:`),
      );
    };
    for (const words of [
      'GET b',
      'HGET h200 1',
      'SISMEMBER s 1',
      'HGETALL h200',
      'LRANGE l16000 0 -1',
    ]) {
      expect(await callsOf(() => answer(words.split(' ')))).toEqual([]);
    }
    expect(await callsOf(() => voteOn(['SET', 'n', '1'], ['GET', 'n'], ['INCR', 'n']))).toEqual([]);
    expect(await callsOf(() => answer(['SINTER', 's', 's']))).toEqual(['scard']);
  });
});

describe('a read that a region runs natively', () => {
  const range = String(limits.rangePerRead);
  const entries = String(limits.entriesPerRead);
  it.each([
    ['LRANGE l 0 -1', `LRANGE l 0 ${range}`],
    ['LRANGE l 5 -1', `LRANGE l 5 ${limits.rangePerRead + 5}`],
    ['LRANGE l 5 99', 'LRANGE l 5 99'],
    ['LRANGE l -9 -1', 'LRANGE l -9 -1'],
    ['LRANGE l -9000000 -1', `LRANGE l -9000000 ${limits.rangePerRead - 9_000_000}`],
    ['ZRANGE z 0 9999999 WITHSCORES', `ZRANGE z 0 ${range} WITHSCORES`],
    ['ZREVRANGE z 0 -1', `ZREVRANGE z 0 ${range}`],
    ['ZRANGEBYSCORE z 1 2', `ZRANGEBYSCORE z 1 2 LIMIT 0 ${range}`],
    [
      'ZRANGEBYSCORE z 1 2 LIMIT 3 -1 WITHSCORES',
      `ZRANGEBYSCORE z 1 2 LIMIT 3 ${range} WITHSCORES`,
    ],
    ['ZRANGEBYLEX z - + LIMIT 3 4', 'ZRANGEBYLEX z - + LIMIT 3 4'],
    ['ZRANGE z 1 2 BYSCORE', `ZRANGE z 1 2 BYSCORE LIMIT 0 ${range}`],
    ['XRANGE x - +', `XRANGE x - + COUNT ${entries}`],
    ['XREVRANGE x + - COUNT 9999999', `XREVRANGE x + - COUNT ${entries}`],
    ['XRANGE x - + COUNT -1', 'XRANGE x - + COUNT -1'],
    ['HSCAN h 0 COUNT 9999999', `HSCAN h 0 COUNT ${limits.scannedPerCommand}`],
    ['SCAN 0 MATCH a COUNT 9999999', `SCAN 0 MATCH a COUNT ${limits.scannedPerCommand}`],
    ['XPENDING x g - + 9999999', `XPENDING x g - + ${entries}`],
    ['XPENDING x g IDLE 5 - + 9999999 c', `XPENDING x g IDLE 5 - + ${entries} c`],
    ['XINFO STREAM x FULL COUNT 0', `XINFO STREAM x FULL COUNT ${entries}`],
    ['XINFO STREAM x FULL', 'XINFO STREAM x FULL'],
    ['GET k', 'GET k'],
    ['LRANGE l a b', 'LRANGE l a b'],
  ])('is sent from %s as %s', (given, sent) => {
    expect(boundedRead(given.split(' '))).toEqual(sent.split(' '));
  });

  it.each([
    ['LRANGE l 0 -1', false],
    ['LRANGE l 0 -2', true],
    ['LRANGE l -9 9', false],
    ['LRANGE l -9999999 9999999', true],
    ['ZRANGE z 0 -2 BYSCORE', false],
    [`XREAD STREAMS ${times(10, 'x 0')}`, false],
    [`XREAD STREAMS ${times(11, 'x 0')}`, true],
  ])('is measured first if it is %s: %s', (given, isMeasured) => {
    expect(needsMeasure(given.split(' '))).toBe(isMeasured);
  });
});
