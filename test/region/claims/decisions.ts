import { describe, expect, it } from 'vitest';
import {
  abortOf,
  commitOf,
  executed,
  increment,
  outcomesOf,
  part,
  prepareOf,
  roundOf,
  set,
  write,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';

/** Claims about prepares and decisions as they come late, twice, or out of order. */
export function claimDecisions(world: () => Implementation): void {
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await world().round(roundOf(given)));
  const incr = (sequence: number, key = 'n') => prepareOf(sequence, [key], part(increment(key)));

  describe('a prepare', () => {
    it('is refused as late after its abort overtook it', async () => {
      expect((await send({ decisions: [abortOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      expect((await send({ prepares: [incr(1)] })).votes).toEqual([{ kind: 'late' }]);
      expect((await send({ prepares: [incr(2)] })).votes[0]?.kind).toBe('yes');
    });

    it('is refused as late after its commit and after its abort', async () => {
      await send({ prepares: [incr(1), incr(2, 'm')] });
      await send({ decisions: [commitOf(1, ['n']), abortOf(2, ['m'])] });
      const reply = await send({ prepares: [incr(1), incr(2, 'm')] });
      expect(reply.votes).toEqual([{ kind: 'late' }, { kind: 'late' }]);
      expect(await world().run('GET', 'n')).toBe('"1"');
      expect(await world().run('GET', 'm')).toBe('null');
    });

    it('is refused as late in the very round that aborts it', async () => {
      const reply = await send({ decisions: [abortOf(1, ['n'])], prepares: [incr(1)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
    });

    it('is refused as late in the very round that commits it', async () => {
      await send({ prepares: [incr(1)] });
      const reply = await send({ decisions: [commitOf(1, ['n'])], prepares: [incr(1)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
    });

    it('is refused as late at and below the floor, although nothing else is known of it', async () => {
      await send({ floor: [1, 5] });
      const reply = await send({ prepares: [incr(4), incr(5), incr(6)] });
      expect(reply.votes.map((vote) => vote.kind)).toEqual(['late', 'late', 'yes']);
    });

    it('does not vote or run again when it comes twice, in one round or in two', async () => {
      const reply = await send({ prepares: [incr(1), incr(1)] });
      expect(reply.votes.map((vote) => vote.kind)).toEqual(['yes', 'duplicate']);
      expect((await send({ prepares: [incr(1)] })).votes).toEqual([{ kind: 'duplicate' }]);
      await send({ decisions: [commitOf(1, ['n'])] });
      expect(await world().run('GET', 'n')).toBe('"1"');
    });

    it('meets the lock of another transaction, of the same round too, and names it', async () => {
      const both = prepareOf(2, ['free', 'n'], part(set('free', '1'), set('n', '1')));
      const reply = await send({ prepares: [incr(1), both] });
      expect(reply.votes[1]).toEqual({ kind: 'locked', key: 'n', holder: [1, 1] });
      const third = await send({ prepares: [incr(3, 'free')] });
      expect(third.votes[0]?.kind).toBe('yes');
    });

    it('takes a key whose lock a decision of the same round drops', async () => {
      await send({ prepares: [incr(1)] });
      const reply = await send({ decisions: [commitOf(1, ['n'])], prepares: [incr(2)] });
      expect(outcomesOf(reply.votes[0])).toBe('[[0,2]]');
      expect((await send({ prepares: [incr(3)] })).votes[0]).toMatchObject({ kind: 'locked' });
      await send({ decisions: [commitOf(2, ['n'])] });
      expect(await world().run('GET', 'n')).toBe('"2"');
    });

    it('holds its locks however much later somebody asks for them', async () => {
      await send({ prepares: [incr(1)] });
      for (let sequence = 2; sequence < 5; sequence += 1) {
        const reply = await send({ prepares: [incr(sequence)] });
        expect(reply.votes).toEqual([{ kind: 'locked', key: 'n', holder: [1, 1] }]);
      }
    });
  });

  describe('a decision', () => {
    it('applies a commit once when it comes twice', async () => {
      await send({ prepares: [incr(1)] });
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      await world().run('SET', 'n', '10');
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      expect(await world().run('GET', 'n')).toBe('"10"');
    });

    it('reports a commit that finds neither its locks nor a record as lost', async () => {
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['lost']);
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['lost']);
    });

    it('reports a decision that finds a part of its locks as lost, and changes nothing', async () => {
      await send({ prepares: [prepareOf(1, ['a', 'b'], part(set('a', '1'), set('b', '1')))] });
      await world().dropLock('b');
      const decisions = [commitOf(1, ['a', 'b'])];
      expect((await send({ decisions })).decisions).toEqual(['lost']);
      const aborts = [abortOf(1, ['a', 'b'])];
      expect((await send({ decisions: aborts })).decisions).toEqual(['lost']);
      expect(await world().run('GET', 'a')).toBe('null');
      expect((await send({ prepares: [incr(2, 'a')] })).votes[0]).toMatchObject({ kind: 'locked' });
    });

    it('does not act on a lock that names another transaction', async () => {
      await send({ prepares: [incr(2)] });
      const reply = await send({ decisions: [abortOf(1, ['n']), commitOf(3, ['n'])] });
      expect(reply.decisions).toEqual(['acknowledged', 'lost']);
      await send({ decisions: [commitOf(2, ['n'])] });
      expect(await world().run('GET', 'n')).toBe('"1"');
    });

    it('is acknowledged at and below the floor, whatever it says', async () => {
      await send({ floor: [1, 3] });
      const decisions = [commitOf(2, ['a']), commitOf(3, ['b']), abortOf(1, ['c'])];
      const expected = ['acknowledged', 'acknowledged', 'acknowledged'];
      expect((await send({ decisions })).decisions).toEqual(expected);
    });

    it('stays settled when a late round with a lower floor comes', async () => {
      await send({ floor: [1, 3] });
      const reply = await send({ floor: [1, 1], prepares: [incr(2)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
      const commit = await send({ floor: [1, 1], decisions: [commitOf(2, ['n'])] });
      expect(commit.decisions).toEqual(['acknowledged']);
    });

    it('orders the floor by incarnation before sequence', async () => {
      await send({ incarnation: 2, floor: [2, 0] });
      const reply = await send({ incarnation: 2, decisions: [commitOf(900, ['n'])] });
      expect(reply.decisions).toEqual(['acknowledged']);
    });

    it('drops what an abort had staged, and leaves the key as it was', async () => {
      await world().run('SET', 'n', '5');
      await send({ prepares: [incr(1)] });
      await send({ decisions: [abortOf(1, ['n'])] });
      expect(await world().run('GET', 'n')).toBe('"5"');
      expect(outcomesOf((await send({ prepares: [incr(2)] })).votes[0])).toBe('[[0,6]]');
    });

    it('shows nothing to a plain client before the commit, and everything after it', async () => {
      await world().run('SET', 'old', '1');
      const operations = [
        set('new', '1'),
        write('APPEND', 'old', '2'),
        write('LPUSH', 'list', 'x'),
      ];
      await send({ prepares: [prepareOf(1, ['new', 'old', 'list'], part(...operations))] });
      expect(await world().run('EXISTS', 'new')).toBe('0');
      expect(await world().run('EXISTS', 'list')).toBe('0');
      expect(await world().run('GET', 'old')).toBe('"1"');
      await send({ decisions: [commitOf(1, ['new', 'old', 'list'])] });
      expect(await world().run('GET', 'new')).toBe('"1"');
      expect(await world().run('GET', 'old')).toBe('"12"');
      expect(await world().run('LRANGE', 'list', '0', '-1')).toBe('["x"]');
    });

    it('stands beside others of its round that cannot be applied', async () => {
      await send({ prepares: [incr(1), incr(2, 'm')] });
      const decisions = [commitOf(9, ['x']), commitOf(1, ['n']), commitOf(2, ['m'])];
      const expected = ['lost', 'acknowledged', 'acknowledged'];
      expect((await send({ decisions })).decisions).toEqual(expected);
      expect(await world().run('GET', 'm')).toBe('"1"');
    });

    it('answers the same for each copy of it in one round', async () => {
      await send({ prepares: [incr(1)] });
      const decisions = [commitOf(1, ['n']), commitOf(1, ['n'])];
      expect((await send({ decisions })).decisions).toEqual(['acknowledged', 'acknowledged']);
    });
  });
}
