import { describe, expect, it } from 'vitest';
import type { Inspection } from '../../../shared/contracts/round.ts';
import { executed, part, prepareOf, roundOf, set } from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { bytesOf } from '../replies.ts';

/** Claims about inspections of keys and locks. */
export function claimInspections(region: () => Implementation): void {
  const inspect = async (inspection: Inspection) => {
    const result = await region().inspect(inspection);
    if (result.kind !== 'inspected') throw new Error(`not inspected: ${result.reason}`);
    return result;
  };
  const digestOf = async (key: string) => {
    const { keys } = await inspect({ kind: 'keys', keys: [bytesOf(key)] });
    return keys[0]?.digest ?? null;
  };
  const later = (ms: number) => String(Date.now() + 3_600_000 + ms);

  describe('a digest', () => {
    it('is the same for equal values, however they were made', async () => {
      const { run } = region();
      await run('SADD', 'a', '1', '2', '3');
      await run('SADD', 'b', '3', 'x', '1');
      await run('SREM', 'b', 'x');
      await run('SADD', 'b', '2');
      expect(await digestOf('a')).toBe(await digestOf('b'));
      await run('HSET', 'c', 'f', '1', 'g', '2');
      await run('HSET', 'd', 'g', '1', 'f', '1', 'g', '2');
      expect(await digestOf('c')).toBe(await digestOf('d'));
      await run('SET', 'e', '12');
      await run('SET', 'f', '1');
      await run('APPEND', 'f', '2');
      expect(await digestOf('e')).toBe(await digestOf('f'));
      await run('ZADD', 'g', '1', 'm');
      await run('ZADD', 'h', '2', 'm');
      await run('ZADD', 'h', '1.0', 'm');
      expect(await digestOf('g')).toBe(await digestOf('h'));
    });

    it('differs if the type, the expiry, the order or any part differs', async () => {
      const { run } = region();
      const [one, two] = [later(0), later(1)];
      const values: readonly (readonly string[])[] = [
        ['SET', 'k', ''],
        ['SET', 'k', 'a'],
        ['SET', 'k', 'b'],
        ['SET', 'k', 'a', 'PXAT', one],
        ['SET', 'k', 'a', 'PXAT', two],
        ['RPUSH', 'k', 'a'],
        ['RPUSH', 'k', 'a', 'b'],
        ['RPUSH', 'k', 'b', 'a'],
        ['RPUSH', 'k', 'ab'],
        ['SADD', 'k', 'a'],
        ['SADD', 'k', 'a', 'b'],
        ['SADD', 'k', 'ab'],
        ['HSET', 'k', 'a', 'b'],
        ['HSET', 'k', 'b', 'a'],
        ['HSET', 'k', 'a', 'b', 'b', 'a'],
        ['HSET', 'k', 'a', 'a', 'b', 'b'],
        ['HSET', 'k', 'ab', ''],
        ['ZADD', 'k', '1', 'a'],
        ['ZADD', 'k', '1.0000000000000002', 'a'],
        ['ZADD', 'k', '1', 'b'],
        ['ZADD', 'k', '1', 'a', '2', 'b'],
        ['ZADD', 'k', '2', 'a', '1', 'b'],
      ];
      const digests = new Set<string | null>([null]);
      for (const command of values) {
        await run('DEL', 'k');
        await run(...command);
        digests.add(await digestOf('k'));
      }
      expect(digests.size).toBe(values.length + 1);
    });

    it('is null for a key that does not exist or has expired', async () => {
      await region().run('SET', 'k', 'v', 'PXAT', '1000');
      expect(await digestOf('k')).toBe(null);
      expect(await digestOf('none')).toBe(null);
    });
  });

  describe('an inspection', () => {
    it('needs no generation, and changes nothing', async () => {
      await region().run('SET', 'k', 'v');
      expect((await inspect({ kind: 'scan', cursor: '0', count: 10 })).keys).toHaveLength(1);
      expect(await region().round(roundOf({ begin: false }))).toMatchObject({
        refusal: { has: 0 },
      });
    });

    it('returns the holders of locks, and digests of the values from before them', async () => {
      await region().run('SET', 'é', '1');
      const before = await digestOf('é');
      const prepare = prepareOf(4, ['é', 'new'], part(set('é', '2'), set('new', '2')));
      executed(await region().round(roundOf({ prepares: [prepare] })));
      const { keys } = await inspect({ kind: 'keys', keys: [bytesOf('é'), 'new', 'free'] });
      expect(keys).toEqual([
        { key: bytesOf('é'), digest: before, holder: [1, 4] },
        { key: 'new', digest: null, holder: [1, 4] },
        { key: 'free', digest: null, holder: null },
      ]);
    });

    it('scans every key with its digest, without Lockstep’s own', async () => {
      const names = Array.from({ length: 50 }, (_, index) => `é${index}`);
      for (const name of names) await region().run('SET', name, name);
      const prepare = prepareOf(1, ['é7', 'new'], part(set('é7', '2')));
      await region().round(roundOf({ prepares: [prepare] }));
      const found = new Map<string, string>();
      let cursor: string | null = '0';
      while (cursor !== null) {
        const result = await inspect({ kind: 'scan', cursor, count: 9 });
        for (const { key, digest, holder } of result.keys) {
          found.set(key, digest ?? '');
          expect(holder).toEqual(key === bytesOf('é7') ? [1, 1] : null);
        }
        cursor = result.cursor;
      }
      expect([...found.keys()].sort()).toEqual(names.map(bytesOf).sort());
      expect(new Set(found.values()).size).toBe(names.length);
    });

    it('lists locks, and reports whether the list is truncated', async () => {
      const keys = Array.from({ length: 20 }, (_, index) => `é${index}`);
      await region().round(roundOf({ prepares: [prepareOf(3, keys)] }));
      const all = await inspect({ kind: 'locks', count: 20 });
      expect(all.more).toBe(false);
      expect(all.keys.map(({ key }) => key).sort()).toEqual(keys.map(bytesOf).sort());
      expect(all.keys.every(({ digest, holder }) => digest === '' && holder?.[1] === 3)).toBe(true);
      const some = await inspect({ kind: 'locks', count: 19 });
      expect(some.keys).toHaveLength(19);
      expect(some.more).toBe(true);
    });
  });
}
