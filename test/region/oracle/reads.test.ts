import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileReads } from '../../../shared/commands/compile.ts';
import type { RawReply } from '../../../shared/contracts/reply.ts';
import { limits } from '../../../shared/limits.ts';
import { countedText, snapshotOf } from '../fixtures.ts';
import { RedisOracle } from './redis-oracle.ts';

/** Reads whose server replies differ from the requested form. */

let oracle: RedisOracle;

beforeAll(async () => {
  oracle = await RedisOracle.start();
});

afterAll(() => oracle.stop());

beforeEach(() => oracle.agree([]));

const write = (...commands: readonly string[]) =>
  oracle.run({ together: true, commands: commands.map((words) => words.split(' ')) });

async function readAll(...commands: readonly (readonly string[])[]): Promise<readonly RawReply[]> {
  const compiled = compileReads(commands);
  if (!compiled.ok) throw new Error(compiled.detail);
  const request = snapshotOf(compiled.keys, compiled.commands);
  const result = await oracle.region.snapshot(request, 0);
  if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
  return result.replies;
}

type Ask = (words: string) => Promise<RawReply>;

const native: Ask = async (words) => (await readAll(words.split(' ')))[0] ?? null;

/** LCS has to run in the script, and so do all other commands of its snapshot. */
const inScript: Ask = async (words) =>
  (await readAll(words.split(' '), ['LCS', 'none', 'none']))[0] ?? null;

const byUser: Ask = async (words) => {
  const text = `return redis.call(${words
    .split(' ')
    .map((word) => `'${word}'`)
    .join(', ')})`;
  const sha = createHash('sha1').update(text).digest('hex');
  const args = ['EVAL_RO', sha, countedText(text), '0'];
  const request = snapshotOf([], [{ args, reads: [], reply: null }]);
  const result = await oracle.region.snapshot(request, 0);
  if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
  return result.replies[0] ?? null;
};

describe.each([
  ['natively', native],
  ['in a script', inScript],
  ['in a user’s script', byUser],
])('a delivery that is read %s', (_, ask) => {
  const begin = async () => {
    const from = Date.now();
    await write('XGROUP CREATE s g 0 MKSTREAM', 'XADD s 1-1 f v', 'XADD s 2-1 f v');
    await write('XREADGROUP GROUP g c STREAMS s >');
    const to = Date.now();
    await oracle.end();
    return { from, to };
  };

  it('has an idle time no longer than its real age', async () => {
    const { from } = await begin();
    const reply = JSON.stringify(await ask('XPENDING s g - + 1'));
    const [, idle = ''] = /^\[\["1-1","c",(\d+),1\]\]$/.exec(reply) ?? [];
    expect(Number(idle)).toBeLessThanOrEqual(Date.now() - from);
  });

  it('has the coordinator’s time', async () => {
    const { from, to } = await begin();
    const reply = JSON.stringify(await ask('XINFO STREAM s FULL'));
    const moments = [...reply.matchAll(/\["1-1",(?:"c",)?(\d+),1\]/g)].map(([, ms]) => Number(ms));
    expect(moments.length).toBe(2);
    for (const ms of moments) {
      expect(ms).toBeGreaterThanOrEqual(from);
      expect(ms).toBeLessThanOrEqual(to);
    }
  });

  it('has the time that a claim gave it', async () => {
    await begin();
    const moment = Date.now() - 5_000_000;
    // The names are the same words as the options of a claim.
    await write('XGROUP CREATE s TIME 0', 'XREADGROUP GROUP TIME TIME COUNT 1 STREAMS s >');
    await write(`XCLAIM s g c 0 1-1 TIME ${moment}`, `XCLAIM s TIME TIME 0 1-1 TIME ${moment}`);
    await oracle.end();
    const full = JSON.stringify(await ask('XINFO STREAM s FULL'));
    expect(full).toContain(`["1-1","c",${moment},2]`);
    expect(full).toContain(`["1-1","TIME",${moment},2]`);
    expect(await ask('XPENDING s g IDLE 5000000 - + 9')).toHaveLength(1);
    expect(await ask('XPENDING s g IDLE 9000000 - + 9')).toHaveLength(0);
    // The idle time of the other delivery does not include the allowance.
    expect(await ask('XPENDING s g IDLE 4000000 - + 9')).toHaveLength(1);
  });
});

describe.each([
  ['natively', native],
  ['in a script', inScript],
])('a read %s', (_, ask) => {
  it('omits the values of a hash', async () => {
    await write('HSET h f 1 g 2');
    await oracle.end();
    expect(await ask('HSCAN h 0 COUNT 9 novalues')).toEqual(['0', ['f', 'g']]);
    expect(await ask('HSCAN h 0 MATCH NOVALUES')).toEqual(['0', []]);
    expect(await ask('HSCAN h 0')).toEqual(['0', ['f', '1', 'g', '2']]);
  });

  it('returns the memory that a key uses', async () => {
    await write('SET k v');
    await oracle.end();
    expect(await ask('MEMORY USAGE k')).toBeGreaterThan(0);
    expect(await ask('memory usage none samples 0')).toBeNull();
  });
});

describe('a read of the memory that a key uses', () => {
  it.each([
    ['0', limits.memorySamples],
    [String(limits.memorySamples + 1), limits.memorySamples],
    ['7', 7],
  ])('samples %s elements as %i', (given, taken) => {
    const compiled = compileReads([['MEMORY', 'USAGE', 'k', 'SAMPLES', given]]);
    expect(compiled).toMatchObject({
      commands: [{ args: ['MEMORY', 'USAGE', 'k', 'SAMPLES', String(taken)], reads: [2] }],
    });
  });
});
