import { describe, expect, it } from 'vitest';
import { everyKey, flushedKey } from '../../../shared/reserved-keys.ts';
import {
  commitOf,
  executed,
  flush,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';

/** Keys of one transaction: more than a region keeps locks of in its state. */
const many = Array.from({ length: 3_000 }, (_, at) => `key${at}`);

/** Claims about transactions whose locks are too many or too long for the state of a region. */
export function claimFarLocks(region: () => Implementation): void {
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await region().round(roundOf(given)));
  const large = (sequence: number, keys = many) =>
    prepareOf(sequence, keys, part(...keys.map((key) => set(key, String(sequence)))));
  const small = (sequence: number, key: string) =>
    prepareOf(sequence, [key], part(set(key, String(sequence))));

  describe('a transaction of thousands of keys', () => {
    it('locks each of them, and sets each of them', async () => {
      await send({ prepares: [small(1, 'near'), large(2)] });
      const { votes } = await send({ prepares: [small(3, 'key2999'), small(4, 'near')] });
      expect(votes).toEqual([
        { kind: 'locked', key: 'key2999', holder: [1, 2] },
        { kind: 'locked', key: 'near', holder: [1, 1] },
      ]);
      await send({ decisions: [commitOf(2, many)], prepares: [small(5, 'key0')] });
      await send({ decisions: [commitOf(5, ['key0'])] });
      const values = await Promise.all(
        ['key0', 'key1', 'key2999', 'near'].map((key) => region().run('GET', key)),
      );
      expect(values).toEqual(['"5"', '"2"', '"2"', 'null']);
    });

    it('makes room for another one in the round that commits it', async () => {
      await send({ prepares: [large(1)] });
      const next = await send({ decisions: [commitOf(1, many)], prepares: [large(2)] });
      expect(next.votes[0]?.kind).toBe('yes');
      const met = await region().snapshot(snapshotOf(['key7', 'key2998'], []));
      expect(met).toMatchObject({ locks: [{ holder: [1, 2] }, { holder: [1, 2] }] });
      await send({ decisions: [commitOf(2, many)] });
      expect(await region().run('GET', 'key2999')).toBe('"2"');
    });

    it('does not stand in the way of a flush in the round that commits it', async () => {
      await send({ prepares: [large(1)] });
      const all = [everyKey, flushedKey];
      const reply = await send({
        decisions: [commitOf(1, many)],
        prepares: [prepareOf(2, all, part(flush))],
      });
      expect(reply.votes[0]?.kind).toBe('yes');
      await send({ decisions: [commitOf(2, all)] });
      expect(await region().run('GET', 'key0')).toBe('null');
    });

    it('is not listed as older by the round that commits it', async () => {
      await send({ prepares: [large(1)] });
      const asked = { incarnation: 2, askOlder: true };
      const before = await send(asked);
      expect(before.older.map(({ transaction, keys }) => [transaction, keys.length])).toEqual([
        [[1, 1], many.length],
      ]);
      const reply = await send({ ...asked, decisions: [commitOf(1, many)] });
      expect(reply.older).toEqual([]);
      expect((await send(asked)).older).toEqual([]);
    });

    it('is not withheld from the source of a copy in the round that commits it', async () => {
      await send({ prepares: [large(1)] });
      const { copy } = await send({
        decisions: [commitOf(1, many)],
        copy: { kind: 'read', keys: [{ key: 'key0', from: '' }], form: 'logical' },
      });
      expect(copy).toMatchObject({ locked: [], items: [{ key: 'key0' }] });
    });
  });
}
