/** Tests values of the largest sizes, and the limits of replies. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { bytesWithin, textWithBytes } from '../../shared/commands/raw-bytes.ts';
import { operationAt } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { decodeReply } from '../../shared/contracts/reply.ts';
import type { Vote } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly } from './direct.ts';
import { commitOf, executed, part, prepareOf, roundOf, script } from './fixtures.ts';
import { servers, type TestServer } from './servers.ts';

const size = limits.valueBytes;

/** The largest value that a write may store, of each kind. */
const kinds: readonly (readonly [string, string])[] = [
  ['ASCII', 'x'.repeat(size)],
  ['CJK', `${'漢'.repeat(Math.floor(size / 3))}xx`],
  ['control characters', '\0'.repeat(size)],
  ['bytes that are not valid UTF-8', textWithBytes(new Uint8Array(size).fill(0xfe))],
];

/** A key of the greatest length, which XREADGROUP and LMPOP return as well. */
const key = 'k'.repeat(limits.keyBytes);

describe.each(servers)('a large value in %s', (_name, start) => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  /** Votes on a transaction with each of the commands as a part of its own. */
  const vote = async (...commands: readonly (readonly string[])[]): Promise<Vote | undefined> => {
    sequence += 1;
    const keys = new Set<string>();
    const parts = commands.map((command) => {
      const compiled = compileWrite([command], [], { now: 1_000 + sequence, seed: () => 1 });
      if (!compiled.ok) throw new Error(compiled.detail);
      for (const one of compiled.keys) keys.add(one);
      return part(...compiled.operations.map((one) => operationAt(one, 1_000 + sequence)));
    });
    const prepares = [prepareOf(sequence, [...keys], ...parts)];
    const { votes } = executed(await client.round(roundOf({ prepares }), 0));
    const decisions = [commitOf(sequence, [...keys])];
    if (votes[0]?.kind === 'yes') await client.round(roundOf({ decisions }), 0);
    return votes[0];
  };
  const run = async (...commands: readonly (readonly string[])[]) => {
    const cast = await vote(...commands);
    if (cast?.kind !== 'yes') throw new Error(`voted ${JSON.stringify(cast).slice(0, 200)}`);
    return cast.outcomes.map(decodeReply);
  };

  it.each(kinds)('of %s can be stored, and taken out by every command', async (_, value) => {
    const bytes = bytesWithin(value);
    const taken = [[0, bytes]];
    await run(['SET', key, value]);
    expect(await run(['GETDEL', key])).toEqual(taken);
    await run(['SET', key, value]);
    expect(await run(['GETSET', key, value])).toEqual(taken);
    expect(await run(['SET', key, value, 'GET'])).toEqual(taken);
    await run(['DEL', key]);
    await run(['RPUSH', key, value]);
    expect(await run(['RPOPLPUSH', key, 'other'])).toEqual(taken);
    expect(await run(['LPOP', 'other'])).toEqual(taken);
    await run(['XGROUP', 'CREATE', key, 'g', '$', 'MKSTREAM']);
    await run(['XADD', key, '5-5', 'f', value]);
    const entry = [key, [['5-5', ['f', bytes]]]];
    expect(await run(['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key, '>'])).toEqual([
      [0, [entry]],
    ]);
  });

  it('of the maximum size can be taken; one larger than all replies is refused, and stays', async () => {
    await server.redis.set('k', 'x'.repeat(limits.takenBytes));
    const [, reply = ''] = (await run(['GETDEL', 'k']))[0] as [number, string];
    expect(reply).toHaveLength(limits.takenBytes);
    const larger = 'x'.repeat(limits.outcomeBytes);
    await server.redis.set('k', larger);
    await server.redis.rpush('list', larger);
    for (const command of [
      ['GETDEL', 'k'],
      ['LPOP', 'list'],
    ]) {
      const tooLarge = expect.stringMatching(/too large: the limit is 900000 bytes.*GETRANGE.*DEL/);
      expect(await run(command)).toEqual([[2, 0, tooLarge]]);
    }
    expect(await server.redis.strlen('k')).toBe(larger.length);
    expect(await server.redis.llen('list')).toBe(1);
    expect(await run(['GETRANGE', 'k', '0', '2'], ['DEL', 'k'])).toEqual([
      [0, 'xxx'],
      [0, 1],
    ]);
  });

  it('is popped by one of several parts, and the vote reports how many parts fit', async () => {
    const value = 'x'.repeat(size);
    await server.redis.rpush('list', value, value, value);
    const pops = [1, 2, 3].map(() => ['LPOP', 'list']);
    expect(await vote(...pops)).toMatchObject({ kind: 'refused', most: 1 });
    expect(await server.redis.llen('list')).toBe(3);
    expect(await run(['LPOP', 'list'])).toEqual([[0, value]]);
    expect(await server.redis.llen('list')).toBe(2);
  });

  it('is refused as an entry that XREADGROUP could not deliver', async () => {
    const item = 12;
    const half = 'v'.repeat(limits.takenBytes / 2 - item);
    const add = (value: string) => ['XADD', key, '5-5', half, value];
    await expect(vote(add(`${half}x`))).rejects.toThrow(`the limit is ${limits.takenBytes}`);
    await run(['XGROUP', 'CREATE', key, 'g', '$', 'MKSTREAM']);
    const longer = script(
      "return redis.call('XADD', KEYS[1], '5-5', 'f', string.rep('v', tonumber(ARGV[1])))",
      [key],
      [String(limits.takenBytes)],
    );
    sequence += 1;
    const prepares = [prepareOf(sequence, [key], part(longer))];
    const { votes } = executed(await client.round(roundOf({ prepares }), 0));
    const [cast] = votes;
    const outcomes = cast?.kind === 'yes' ? cast.outcomes.join('') : '';
    expect(outcomes).toContain('XADD of so large an entry is not supported in a script');
    await client.round(roundOf({ decisions: [commitOf(sequence, [key])] }), 0);
    await run(add(half));
    expect(await run(['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key, '>'])).toEqual([
      [0, [[key, [['5-5', [half, half]]]]]],
    ]);
  });

  it('is extended by APPEND up to the limit of its length, by a script too, and not beyond', async () => {
    const append = (value: string) => ['APPEND', 'k', value];
    const scripted = (value: string) => [
      'EVAL',
      "return redis.call('APPEND', KEYS[1], ARGV[1])",
      '1',
      'k',
      value,
    ];
    await server.redis.setrange('k', limits.reachedBytes - 3, 'x');
    const isRefused = expect.stringContaining(
      `APPEND extends the value to ${limits.reachedBytes + 1} bytes; the limit is ${limits.reachedBytes}`,
    );
    expect(await run(append('xxx'))).toEqual([[2, 0, isRefused]]);
    expect(await run(append('x'))).toEqual([[0, limits.reachedBytes - 1]]);
    expect(await run(scripted('x'))).toEqual([[0, limits.reachedBytes]]);
    expect(await run(scripted('x'))).toEqual([[2, 0, isRefused]]);
    expect(await run(append('x'), ['SET', 'k', ''], append('x'), ['GET', 'k'])).toEqual([
      [2, 0, isRefused],
      [0, { status: 'OK' }],
      [0, 1],
      [0, 'x'],
    ]);
    expect(await server.redis.strlen('k')).toBe(1);
  });
});
