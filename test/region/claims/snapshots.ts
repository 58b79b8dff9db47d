import { describe, expect, it } from 'vitest';
import { limits } from '../../../shared/limits.ts';
import {
  abortOf,
  command,
  commitOf,
  executed,
  increment,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';
import { encodeReply } from '../replies.ts';

/** Claims about reads. */
export function claimSnapshots(region: () => Implementation): void {
  const prepare = (sequence: number, ...keys: readonly string[]) =>
    prepareOf(sequence, keys, part(...keys.map((key) => set(key, String(sequence)))));
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await region().round(roundOf(given)));
  /** The replies as JSON. */
  const read = async (...args: Parameters<typeof snapshotOf>) => {
    const result = await region().snapshot(snapshotOf(...args));
    return result.kind === 'read' ? { ...result, replies: encodeReply(result.replies) } : result;
  };
  const get = (key: string) => command(['GET', key]);

  describe('a snapshot', () => {
    it('reads values, sorts them if they have no order, and returns an error in place of a failed read', async () => {
      await send({});
      await region().run('SET', 'ключ', 'é\0');
      await region().run('SADD', 's', 'b', 'a');
      await region().run('HSET', 'h', 'z', '1', 'a', '2');
      const commands = [
        get('ключ'),
        get('none'),
        get('s'),
        command(['SMEMBERS', 's'], 'members'),
        command(['HGETALL', 'h'], 'pairs'),
        command(['TYPE', 's']),
      ];
      expect(await read(['ключ', 'none', 's', 'h'], commands)).toEqual({
        kind: 'read',
        replies:
          '["\\u00c3\\u00a9\\u0000",null,' +
          '{"e":"WRONGTYPE Operation against a key holding the wrong kind of value"},' +
          '["a","b"],["a","2","z","1"],{"s":"set"}]',
        locks: [],
      });
    });

    it('returns the locks of its keys and reads the old values', async () => {
      await send({ prepares: [prepare(1, 'a', 'ä'), prepare(2, 'other')] });
      expect(await read(['a', 'ä', 'free'], [get('a')])).toEqual({
        kind: 'read',
        replies: '[null]',
        locks: [
          { key: 'a', holder: [1, 1] },
          { key: 'ä', holder: [1, 1] },
        ],
      });
    });

    it('ignores locks if the read need not be strong', async () => {
      await send({ prepares: [prepare(1, 'a')] });
      expect(await read(['a'], [get('a')], { strong: false })).toMatchObject({ locks: [] });
    });

    it('applies confirmed commits first, and a late prepare or commit changes nothing after that', async () => {
      await send({ prepares: [prepareOf(1, ['n'], part(increment('n')))] });
      const settle = [commitOf(1, ['n'])];
      const found = await read(['n'], [get('n')], { settle });
      expect(found).toEqual({ kind: 'read', replies: '["1"]', locks: [] });
      const again = await send({ decisions: settle });
      expect(again.decisions).toEqual(['acknowledged']);
      const late = await send({ prepares: [prepareOf(1, ['n'], part(increment('n')))] });
      expect(late.votes).toEqual([{ kind: 'late' }]);
      expect(await region().run('GET', 'n')).toBe('"1"');
    });

    it('applies no commit that finds only some of its locks, and no abort', async () => {
      await send({ prepares: [prepare(1, 'a', 'b'), prepare(2, 'c')] });
      await region().dropLock('b');
      const settle = [commitOf(1, ['a', 'b']), commitOf(7, ['x']), abortOf(2, ['c'])];
      const found = await read(['a', 'c'], [get('a')], { settle });
      expect(found).toMatchObject({
        replies: '[null]',
        locks: [
          { key: 'a', holder: [1, 1] },
          { key: 'c', holder: [1, 2] },
        ],
      });
      expect((await send({ decisions: [commitOf(7, ['x'])] })).decisions).toEqual(['lost']);
    });

    it('returns an error in place of each reply beyond the limit of all replies together', async () => {
      await send({});
      await region().run('SET', 'big', 'x'.repeat(limits.snapshotBytes / 2));
      await region().run('SET', 'small', 'y');
      const commands = [get('big'), get('big'), get('small')];
      const found = await read(['big', 'small'], commands);
      const replies = found.kind === 'read' ? JSON.parse(found.replies) : [];
      expect(replies[0]).toHaveLength(limits.snapshotBytes / 2);
      expect(replies[1]).toEqual({ e: expect.stringContaining('too large') });
      expect(replies[2]).toBe('y');
    });
  });
}
