/** Tests reads over all keys, such as KEYS and SCAN. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileReads } from '../../../shared/commands/compile.ts';
import type { Decision } from '../../../shared/contracts/round.ts';
import {
  commitOf,
  executed,
  increment,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from '../fixtures.ts';
import { encodeReply } from '../replies.ts';
import { RedisOracle } from './redis-oracle.ts';

let oracle: RedisOracle;

beforeAll(async () => {
  oracle = await RedisOracle.start();
});

afterAll(() => oracle.stop());

/** Three keys are applied, another is staged inline and another by a shadow. */
beforeEach(async () => {
  await oracle.staged.flushdb();
  const applied = ['a', 'b', 'c'];
  const sets = applied.map((key) => set(key, '1'));
  const round = (given: Parameters<typeof roundOf>[0]) => oracle.region.round(roundOf(given), 0);
  await round({ prepares: [prepareOf(1, applied, part(...sets))] });
  const next = prepareOf(2, ['a', 'new'], part(increment('a'), set('new', '1')));
  executed(await round({ decisions: [commitOf(1, applied)], prepares: [next] }));
});

async function read(words: string, settle: readonly Decision[] = [], strong = true) {
  const compiled = compileReads([words.split(' ')]);
  if (!compiled.ok) throw new Error(compiled.detail);
  const request = snapshotOf(compiled.keys, compiled.commands, { settle, strong });
  const result = await oracle.region.snapshot(request, 0);
  if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
  const [reply] = JSON.parse(encodeReply(result.replies));
  return { reply, locks: result.locks.map(({ key }) => key).sort() };
}

describe('a read over all keys', () => {
  it('excludes Lockstep’s own keys and staged values', async () => {
    expect(await oracle.staged.keys('lockstep:*')).not.toEqual([]);
    expect((await read('KEYS *')).reply.sort()).toEqual(['a', 'b', 'c']);
    expect((await read('KEYS lockstep:*')).reply).toEqual([]);
    expect((await read('DBSIZE')).reply).toBe(3);
    const [cursor, found] = (await read('SCAN 0 COUNT 100')).reply;
    expect([cursor, found.sort()]).toEqual(['0', ['a', 'b', 'c']]);
    expect((await read('SCAN 0 MATCH lockstep:* COUNT 100')).reply).toEqual(['0', []]);
    expect((await read('SCAN 0 COUNT 100 TYPE hash')).reply).toEqual(['0', []]);
  });

  it('returns only users’ keys from RANDOMKEY', async () => {
    for (let time = 0; time < 50; time += 1) {
      expect(['a', 'b', 'c']).toContain((await read('RANDOMKEY')).reply);
    }
    await oracle.staged.del('a', 'b', 'c');
    expect((await read('RANDOMKEY')).reply).toBeNull();
    await oracle.staged.set('last', '1');
    expect((await read('RANDOMKEY')).reply).toBe('last');
  });

  it('returns every lock, so that it misses no acknowledged write', async () => {
    const first = await read('KEYS *');
    expect(first.locks).toEqual(['a', 'new']);
    const again = await read('KEYS *', [commitOf(2, ['a', 'new'])]);
    expect(again.reply.sort()).toEqual(['a', 'b', 'c', 'new']);
    expect((await read('DBSIZE')).reply).toBe(4);
  });

  it('ignores locks taken after a commit that it settles', async () => {
    await read('DBSIZE', [commitOf(2, ['a', 'new'])]);
    const next = roundOf({ prepares: [prepareOf(3, ['b'], part(increment('b')))] });
    executed(await oracle.region.round(next, 0));
    expect((await read('DBSIZE', [commitOf(2, ['a', 'new'])])).locks).toEqual([]);
  });

  it('returns no locks if it may be stale', async () => {
    expect(await read('DBSIZE', [], false)).toEqual({ reply: 3, locks: [] });
  });

  it('returns the errors of Redis for an invalid cursor or pattern', async () => {
    expect((await read('SCAN x')).reply).toEqual({ e: 'ERR invalid cursor' });
    expect((await read('SCAN 0 COUNT 0')).reply).toEqual({ e: 'ERR syntax error' });
  });
});

describe('a count of a HyperLogLog', () => {
  it('changes nothing in the region that it reads', async () => {
    await oracle.staged.pfadd('h', 'a', 'b');
    const before = await oracle.staged.getBuffer('h');
    expect((await read('PFCOUNT h')).reply).toBe(2);
    expect(await oracle.staged.getBuffer('h')).toEqual(before);
  });
});
