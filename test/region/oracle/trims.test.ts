import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import type { Operation } from '../../../shared/contracts/frame.ts';
import { commitOf, executed, part, prepareOf, roundOf, script } from '../fixtures.ts';
import { startRedisServer } from '../servers.ts';
import { RegionWithOracle } from './redis-oracle.ts';

/**
 * Trimming with a LIMIT: a server removes whole nodes of its own, so the result cannot be compared with another
 * server.
 */

let oracle: RegionWithOracle;
let sequence = 0;

beforeAll(async () => {
  oracle = new RegionWithOracle(await startRedisServer());
});

afterAll(() => oracle.stop());

beforeEach(async () => {
  await oracle.staged.flushdb();
  sequence = 0;
  for (let id = 1; id <= 100; id += 1) await oracle.staged.xadd('s', `${id}-1`, 'f', 'v');
});

async function write(words: string): Promise<void> {
  const compiled = compileWrite([words.split(' ')], [], { now: Date.now(), seed: () => 1 });
  if (!compiled.ok) throw new Error(compiled.detail);
  await stage(...compiled.operations);
}

async function stage(...operations: readonly Operation[]): Promise<void> {
  sequence += 1;
  const prepares = [prepareOf(sequence, ['s'], part(...operations))];
  const { votes } = executed(await oracle.region.round(roundOf({ prepares }), 0));
  expect(votes[0]?.kind).toBe('yes');
  await oracle.decide([commitOf(sequence, ['s'])]);
}

const trims: readonly (readonly [string, number, string | undefined])[] = [
  ['XTRIM s MAXLEN ~ 50 LIMIT 10', 90, '11-1'],
  ['XTRIM s MAXLEN ~ 95 LIMIT 10', 95, '6-1'],
  ['XTRIM s MAXLEN ~ 500 LIMIT 10', 100, '1-1'],
  ['XTRIM s MAXLEN ~ 50 LIMIT 0', 50, '51-1'],
  ['XTRIM s MINID ~ 50 LIMIT 10', 90, '11-1'],
  ['XTRIM s MINID ~ 5-2 LIMIT 10', 95, '6-1'],
  ['XTRIM s MINID ~ 500 LIMIT 1000', 0, undefined],
  ['XADD s MAXLEN ~ 50 LIMIT 10 200-1 f v', 91, '11-1'],
  ['XADD s MAXLEN ~ 50 LIMIT 10 * f v', 91, '11-1'],
  ['XADD s NOMKSTREAM MINID ~ 50 LIMIT 10 200-1 f v', 91, '11-1'],
];

async function expectLeft(length: number, first: string | undefined): Promise<void> {
  expect(await oracle.staged.xlen('s')).toBe(String(length));
  expect((await oracle.staged.xrange('s', '-', '+', 'COUNT', 1))[0]?.[0]).toBe(first);
}

describe('an approximate trimming with a LIMIT', () => {
  it.each(trims)('removes no more entries than the LIMIT: %s', async (words, length, first) => {
    await write(words);
    await expectLeft(length, first);
  });

  it.each(trims)('does so in a script: %s', async (words, length, first) => {
    const [name, , ...rest] = words.split(' ');
    const list = [name, 's', ...rest].map((word) => `'${word}'`).join(',');
    await stage(script(`return redis.call(${list})`, ['s'], []));
    await expectLeft(length, first);
  });
});
