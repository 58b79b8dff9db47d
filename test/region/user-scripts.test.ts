/** Tests users' scripts in rounds and snapshots: keys, undoing, messages, time and randomness. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { ReadCommand, SnapshotRequest } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  commitOf,
  continuingOnError,
  countedText,
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
import { encodeReply } from './replies.ts';
import { servers, type TestServer } from './servers.ts';

function reading(text: string, keys: readonly string[] = []): ReadCommand {
  const sha = createHash('sha1').update(text).digest('hex');
  const args = ['EVAL_RO', sha, countedText(text), String(keys.length), ...keys];
  return { args, reads: keys.map((_, index) => index + 4), reply: null };
}

describe.each(servers)('a user’s script in %s', (name, start) => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const prepare = async (keys: readonly string[], ...operations: readonly Operation[]) => {
    sequence += 1;
    const { votes } = await send({ prepares: [prepareOf(sequence, keys, part(...operations))] });
    return votes[0];
  };
  const outcome = async (keys: readonly string[], ...operations: readonly Operation[]) =>
    outcomesOf(await prepare(keys, ...operations));
  const commit = (keys: readonly string[]) => send({ decisions: [commitOf(sequence, keys)] });
  const keysHeld = async () => (await server.redis.keys('*')).sort();
  const snapshot = async (command: ReadCommand, given: Partial<SnapshotRequest> = {}) => {
    const result = await client.snapshot(snapshotOf([], [command], given), 0);
    if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
    return result;
  };

  it('is invisible before its commit, and visible as a whole after it', async () => {
    const both = script(
      "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('INCR', KEYS[2])",
      ['a', 'b'],
      ['x'],
    );
    expect(await outcome(['a', 'b'], both)).toBe('[[0,1]]');
    expect(await server.redis.exists('a', 'b')).toBe(0);
    await commit(['a', 'b']);
    expect(await server.redis.mget('a', 'b')).toEqual(['x', '1']);
  });

  it('is refused with the unlisted keys that it touches, and leaves nothing', async () => {
    const wide = script(
      "redis.call('INCR', 'one') redis.call('GET', 'two') return redis.call('DEL', KEYS[1])",
      ['k'],
    );
    const vote = await prepare(['k', 'n'], increment('n'), wide);
    expect(vote).toEqual({ kind: 'unlisted', parts: [{ part: 0, keys: ['one', 'two'] }] });
    expect(await keysHeld()).toEqual(['lockstep:0:state']);
    expect(await outcome(['k', 'n', 'one', 'two'], increment('n'), wide)).toBe('[[0,1,0]]');
  });

  it('is refused with the unlisted keys per part', async () => {
    sequence += 1;
    const touch = (key: string) => part(script(`return redis.call('GET', '${key}')`));
    const parts = [touch('ü'), part(set('k', '1')), touch('two'), touch('ü')];
    const { votes } = await send({ prepares: [prepareOf(sequence, ['k'], ...parts)] });
    const named = [
      { part: 0, keys: ['ü'] },
      { part: 2, keys: ['two'] },
      { part: 3, keys: ['ü'] },
    ];
    expect(votes[0]).toEqual({ kind: 'unlisted', parts: named });
  });

  it('has a digest of its writes in the vote, since its reply need not show them', async () => {
    const digest = async (text: string) => {
      const vote = await prepare(['k'], script(text, ['k']));
      await send({ decisions: [abortOf(sequence, ['k'])] });
      return vote?.kind === 'yes' ? vote.fingerprints[1] : null;
    };
    const one = await digest("redis.call('SET', KEYS[1], '1') return 'done'");
    expect(one).toMatch(/^[0-9a-f]{40}$/);
    expect(await digest("redis.call('set', 'k', 1) return 'done'")).toBe(one);
    expect(await digest("redis.call('SET', KEYS[1], '2') return 'done'")).not.toBe(one);
    expect(await digest("return redis.call('GET', KEYS[1])")).toBeUndefined();
  });

  it('publishes with its commit, locking the channel, and publishes nothing if it fails', async () => {
    const publish = script(
      "redis.call('SET', 'k', '1') return redis.call('PUBLISH', 'news', 'text')",
      ['k'],
    );
    const channel = channelKey('news');
    const named = [{ part: 0, keys: [channel] }];
    expect(await prepare(['k'], publish)).toEqual({ kind: 'unlisted', parts: named });
    const heard = server.redis.duplicate();
    await heard.subscribe('news');
    const messages: string[] = [];
    const first = new Promise<void>((resolve) => {
      heard.on('message', (_, message) => {
        messages.push(message);
        resolve();
      });
    });
    const errs = script("redis.call('PUBLISH', 'news', 'never') error('no')");
    expect(await outcome(['k', channel], errs)).toContain('no script');
    await commit(['k', channel]);
    expect(await outcome(['k', channel], publish)).toBe('[[0,0]]');
    await commit(['k', channel]);
    await first;
    heard.disconnect();
    expect(messages).toEqual(['text']);
  });

  it('is undone as a whole with its part if it fails', async () => {
    await server.redis.set('n', '5');
    const errs = script("redis.call('INCR', 'n') redis.call('SET', 'm', '1') error('no')");
    expect(await outcome(['n', 'm'], increment('n'), errs)).toMatch(
      /^\[\[2,1,"ERR user_script:1: no script: /,
    );
    await commit(['n', 'm']);
    expect(await keysHeld()).toEqual(['lockstep:0:state', 'n']);
    expect(await server.redis.get('n')).toBe('5');
  });

  it('is undone alone in a part that continues on errors', async () => {
    await server.redis.rpush('l', 'x');
    const keys = ['n', 'm', 'l', 'inline', 'gone'];
    const errs = script(
      "redis.call('INCR', 'n') redis.call('SET', 'm', '1') redis.call('RPUSH', 'l', 'y') " +
        "redis.call('APPEND', 'inline', 'y') redis.call('SET', 'gone', '1') redis.call('LPUSH', 'n', 'x')",
    );
    const before = [
      increment('n'),
      set('inline', 'x'),
      write('DEL', 'gone'),
      write('RPUSH', 'l', 'z'),
    ];
    const fine = script(
      "redis.call('INCR', 'n') redis.call('APPEND', 'inline', '!') return redis.call('LLEN', 'l')",
    );
    sequence += 1;
    const parts = [continuingOnError(part(...before, errs, fine, increment('n')))];
    const { votes } = await send({ prepares: [prepareOf(sequence, keys, ...parts)] });
    expect(outcomesOf(votes[0])).toMatch(
      /^\[\[0,1,\{"s":"OK"\},0,2,\{"e":"WRONGTYPE .*"\},2,3\]\]$/,
    );
    expect((await keysHeld()).filter((key) => key.includes('backup'))).toEqual([]);
    await commit(keys);
    expect(await keysHeld()).toEqual(['inline', 'l', 'lockstep:0:state', 'n']);
    expect(await server.redis.mget('n', 'inline')).toEqual(['3', 'x!']);
    expect(await server.redis.lrange('l', 0, -1)).toEqual(['x', 'z']);
  });

  it('is undone with a later failure of its part, and leaves no backup', async () => {
    await server.redis.set('n', '5');
    const fine = script("redis.call('INCR', 'n') return redis.call('INCR', 'm')");
    const result = await outcome(['n', 'm'], increment('n'), fine, write('LPUSH', 'n', 'x'));
    expect(result).toMatch(/^\[\[2,2,"WRONGTYPE/);
    await commit(['n', 'm']);
    expect(await keysHeld()).toEqual(['lockstep:0:state', 'n']);
  });

  it('stands if it returns an error and does not raise it', async () => {
    const limited = script("redis.call('INCR', 'n') return redis.error_reply('LIMIT reached')");
    expect(await outcome(['n'], limited)).toBe('[[0,{"e":"LIMIT reached"}]]');
    await commit(['n']);
    expect(await server.redis.get('n')).toBe('1');
  });

  it('can read all keys only if its transaction locks them all', async () => {
    await server.redis.mset('a', '1', 'b', '2', 'past', '3');
    await server.redis.pexpire('past', 50_000);
    const count = script(
      "redis.call('SET', 'new', '1') return {redis.call('DBSIZE'), redis.call('KEYS', '*')}",
    );
    const vote = await prepare(['new'], count);
    expect(vote).toEqual({ kind: 'unlisted', parts: [{ part: 0, keys: [everyKey] }] });
    // `past` has passed by the transaction's clock.
    sequence += 1;
    const prepares = [
      { ...prepareOf(sequence, ['new', everyKey], part(count)), now: Date.now() + 60_000 },
    ];
    const { votes } = await send({ prepares });
    expect(outcomesOf(votes[0])).toBe('[[0,[3,["a","b","new"]]]]');
    expect(votes[0]).toMatchObject({
      fingerprints: ['', 'absent', expect.stringMatching(/^[0-9a-f]{40}$/)],
    });
  });

  it('sees no keys after a flush of its transaction', async () => {
    await server.redis.mset('a', '1', 'b', '2');
    const args = [everyKey, flushedKey];
    const flush = { ...set('', ''), kind: 'flush' as const, args, writes: [0, 1] };
    const listing = script(
      "redis.call('SET', 'c', '1') return {redis.call('KEYS', '*'), redis.call('GET', 'a')}",
    );
    expect(await outcome([...args, 'a', 'c'], flush, listing)).toBe(
      '[[0,{"s":"OK"},[["c"],null]]]',
    );
    await commit([...args, 'a', 'c']);
    expect(await server.redis.exists('a', 'b', 'c')).toBe(1);
  });

  it('has in the fingerprint of all keys the expiry of a key that expires soon', async () => {
    await server.redis.set('soon', '1', 'PX', 1_500);
    const vote = await prepare([everyKey], script("return redis.call('DBSIZE')"));
    const expiry = String(await server.redis.pexpiretime('soon'));
    expect(vote).toMatchObject({
      kind: 'yes',
      fingerprints: [expect.stringMatching(`^${expiry}\\.1\\.`)],
    });
  });

  it('sees its own values until its end, even if they expire before the region’s clock', async () => {
    const own = script(
      "redis.call('SET', 'k', 'v', 'PX', '100') redis.call('SET', 'm', 'v', 'PX', '100', 'NX') redis.call('INCR', 'n') " +
        "redis.call('PEXPIRE', 'n', '100') return {redis.call('GET', 'k'), redis.call('PTTL', 'm'), redis.call('INCR', 'n'), " +
        "redis.call('PEXPIRETIME', 'n') % 1000}",
    );
    sequence += 1;
    const now = Math.floor(Date.now() / 1_000) * 1_000 - 60_000;
    const prepares = [{ ...prepareOf(sequence, ['k', 'm', 'n'], part(own)), now }];
    const { votes } = await send({ prepares });
    expect(outcomesOf(votes[0])).toBe('[[0,["v",100,2,100]]]');
    expect((await commit(['k', 'm', 'n'])).decisions).toEqual(['acknowledged']);
    expect(await server.redis.exists('k', 'm', 'n')).toBe(0);
    expect(await server.redis.keys('lockstep:0:shadow:*')).toEqual([]);
  });

  it('draws the same with the same seed, and differently with another', async () => {
    await server.redis.sadd('s', ...Array.from({ length: 50 }, (_, index) => `m${index}`));
    const draw = script(
      "return {math.random(1000000), redis.call('SRANDMEMBER', 's', 3), redis.call('SPOP', 's'), redis.call('SPOP', 's', 2)}",
    );
    const first = await outcome(['s'], draw);
    await send({ decisions: [abortOf(sequence, ['s'])] });
    expect(await outcome(['s'], draw)).toBe(first);
    await send({ decisions: [abortOf(sequence, ['s'])] });
    expect(await outcome(['s'], { ...draw, seed: 8 })).not.toBe(first);
  });

  it('has the time of its transaction, and stream ids of that time', async () => {
    const timed = script(
      "local t = redis.call('TIME') return {t[1], t[2], redis.call('XADD', 'x', '*', 'f', 'v')}",
    );
    sequence += 1;
    const prepares = [{ ...prepareOf(sequence, ['x'], part(timed)), now: 1_700_000_000_123 }];
    const { votes } = await send({ prepares });
    expect(outcomesOf(votes[0])).toBe('[[0,["1700000000","123000","1700000000123-0"]]]');
  });

  it('sees none of Lockstep’s own keys among all keys', async () => {
    await server.redis.set('k', '1');
    const all = script(
      "redis.call('SET', 'n', '1') return {redis.call('KEYS', 'lockstep:*'), redis.call('SCAN', 0)[2], redis.call('KEYS', '*n')}",
    );
    expect(await outcome(['n', everyKey], all)).toBe('[[0,[[],["k","n"],["n"]]]]');
  });

  it.each([
    "redis.call('SETBIT', KEYS[1], 4294967295, 1)",
    "redis.call('SETRANGE', KEYS[1], 400000000, 'x')",
    "redis.call('BITFIELD', KEYS[1], 'SET', 'u8', '#400000000', 1)",
    "redis.call('bitfield', KEYS[1], 'GET', 'u8', 0, 'incrby', 'i5', 4000000000, 1)",
  ])('cannot make a region allocate far beyond a value’s end: %s', async (text) => {
    expect(await outcome(['k'], script(text, ['k']))).toContain('so far out is not supported');
    expect(await server.redis.exists('k')).toBe(0);
  });

  it('touches no more undeclared keys than a write has', async () => {
    const wide = script(
      `for i = 1, ${limits.keysPerWrite + 1} do redis.call('SET', 'k' .. i, '1') end`,
    );
    expect(await outcome([], wide)).toContain('too many keys that it does not declare');
    const most = script(
      `for i = 1, ${limits.keysPerWrite} do redis.pcall('SET', 'k' .. i, '1') end`,
    );
    expect(await prepare([], most)).toMatchObject({ kind: 'unlisted' });
  });

  describe('in a snapshot', () => {
    it('reads, and writes nothing', async () => {
      await server.redis.set('k', 'v');
      await send({ askOlder: true });
      const reads = reading(
        "return {redis.call('GET', KEYS[1]), redis.pcall('SET', 'k', '1').err, #KEYS}",
        ['k'],
      );
      const { replies } = await snapshot(reads, { keys: ['k'] });
      expect(JSON.parse(encodeReply(replies))).toEqual([
        ['v', 'ERR Write commands are not allowed from read-only scripts.', 1],
      ]);
    });

    it('returns the locks of keys that it does not declare', async () => {
      await outcome(['a', 'b'], set('a', '1'), increment('b'));
      const holder = [1, sequence];
      const reads = reading("return {redis.call('GET', 'a'), redis.call('GET', 'c')}");
      const { replies, locks } = await snapshot(reads);
      expect(JSON.parse(encodeReply(replies))).toEqual([[null, null]]);
      expect(locks).toEqual([{ key: 'a', holder }]);
      const all = await snapshot(reading("return redis.call('DBSIZE')"));
      expect(all.locks.map(({ key }) => key).sort()).toEqual(['a', 'b']);
      const keys = ['a', 'b'];
      const settled = await snapshot(reads, { settle: [commitOf(sequence, keys)] });
      expect(JSON.parse(encodeReply(settled.replies))).toEqual([['1', null]]);
      expect(settled.locks).toEqual([]);
    });

    it('fails as a command of its own', async () => {
      await send({ askOlder: true });
      const { replies } = await snapshot(reading("error('no')"));
      expect(JSON.parse(encodeReply(replies))).toEqual([
        { e: expect.stringMatching(/^ERR user_script:1: no script: /) },
      ]);
      const reserved = await snapshot(reading("return redis.call('GET', 'lockstep:0:state')"));
      expect(JSON.parse(encodeReply(reserved.replies))).toEqual([
        { e: expect.stringContaining('reserved') },
      ]);
    });
  });

  it(`has in ${name} the same reply as in every region`, async () => {
    await server.redis.hset('h', 'a', '1', 'b', '2');
    const shown = script(
      "local t = {} local f = function() end return {tostring(t), tostring(f), tostring(t), redis.call('HKEYS', 'h'), " +
        "redis.REDIS_VERSION, math.random(1000), redis.call('RANDOMKEY')}",
    );
    expect(await outcome(['h', everyKey], shown)).toBe(
      '[[0,["table: 0x000000000040","function: 0x000000000080","table: 0x000000000040",["a","b"],"7.0.15",267,"h"]]]',
    );
  });
});
