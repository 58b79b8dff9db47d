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

/** Claims about prepares and decisions that arrive late, twice, or out of order. */
export function claimDecisions(region: () => Implementation): void {
  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await region().round(roundOf(given)));
  const incr = (sequence: number, key = 'n') => prepareOf(sequence, [key], part(increment(key)));

  describe('a prepare', () => {
    it('is refused as late if its abort arrived first', async () => {
      expect((await send({ decisions: [abortOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      expect((await send({ prepares: [incr(1)] })).votes).toEqual([{ kind: 'late' }]);
      expect((await send({ prepares: [incr(2)] })).votes[0]?.kind).toBe('yes');
    });

    it('is refused as late after its commit and after its abort', async () => {
      await send({ prepares: [incr(1), incr(2, 'm')] });
      await send({ decisions: [commitOf(1, ['n']), abortOf(2, ['m'])] });
      const reply = await send({ prepares: [incr(1), incr(2, 'm')] });
      expect(reply.votes).toEqual([{ kind: 'late' }, { kind: 'late' }]);
      expect(await region().run('GET', 'n')).toBe('"1"');
      expect(await region().run('GET', 'm')).toBe('null');
    });

    it('is refused as late in the same round that aborts it', async () => {
      const reply = await send({ decisions: [abortOf(1, ['n'])], prepares: [incr(1)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
    });

    it('is refused as late in the same round that commits it', async () => {
      await send({ prepares: [incr(1)] });
      const reply = await send({ decisions: [commitOf(1, ['n'])], prepares: [incr(1)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
    });

    it('is refused as late at and below the low watermark, even if the region has no record of it', async () => {
      await send({ lowWatermark: [1, 5] });
      const reply = await send({ prepares: [incr(4), incr(5), incr(6)] });
      expect(reply.votes.map((vote) => vote.kind)).toEqual(['late', 'late', 'yes']);
    });

    it('votes and runs only once if it arrives twice, in one round or in two', async () => {
      const reply = await send({ prepares: [incr(1), incr(1)] });
      expect(reply.votes.map((vote) => vote.kind)).toEqual(['yes', 'duplicate']);
      expect((await send({ prepares: [incr(1)] })).votes).toEqual([{ kind: 'duplicate' }]);
      await send({ decisions: [commitOf(1, ['n'])] });
      expect(await region().run('GET', 'n')).toBe('"1"');
    });

    it('is refused with the name of the transaction that holds its key, even in the same round', async () => {
      const both = prepareOf(2, ['free', 'n'], part(set('free', '1'), set('n', '1')));
      const reply = await send({ prepares: [incr(1), both] });
      expect(reply.votes[1]).toEqual({ kind: 'locked', key: 'n', holder: [1, 1] });
      const third = await send({ prepares: [incr(3, 'free')] });
      expect(third.votes[0]?.kind).toBe('yes');
    });

    it('takes a key whose lock a decision of the same round releases', async () => {
      await send({ prepares: [incr(1)] });
      const reply = await send({ decisions: [commitOf(1, ['n'])], prepares: [incr(2)] });
      expect(outcomesOf(reply.votes[0])).toBe('[[0,2]]');
      expect((await send({ prepares: [incr(3)] })).votes[0]).toMatchObject({ kind: 'locked' });
      await send({ decisions: [commitOf(2, ['n'])] });
      expect(await region().run('GET', 'n')).toBe('"2"');
    });

    it('keeps its locks until it is decided, however long that takes', async () => {
      await send({ prepares: [incr(1)] });
      for (let sequence = 2; sequence < 5; sequence += 1) {
        const reply = await send({ prepares: [incr(sequence)] });
        expect(reply.votes).toEqual([{ kind: 'locked', key: 'n', holder: [1, 1] }]);
      }
    });
  });

  describe('a decision', () => {
    it('applies a commit only once if it arrives twice', async () => {
      await send({ prepares: [incr(1)] });
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      await region().run('SET', 'n', '10');
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['acknowledged']);
      expect(await region().run('GET', 'n')).toBe('"10"');
    });

    it('reports a commit as lost if it finds neither its locks nor a record', async () => {
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['lost']);
      expect((await send({ decisions: [commitOf(1, ['n'])] })).decisions).toEqual(['lost']);
    });

    it('reports a decision as lost if it finds only some of its locks, and changes nothing', async () => {
      await send({ prepares: [prepareOf(1, ['a', 'b'], part(set('a', '1'), set('b', '1')))] });
      await region().dropLock('b');
      const decisions = [commitOf(1, ['a', 'b'])];
      expect((await send({ decisions })).decisions).toEqual(['lost']);
      const aborts = [abortOf(1, ['a', 'b'])];
      expect((await send({ decisions: aborts })).decisions).toEqual(['lost']);
      expect(await region().run('GET', 'a')).toBe('null');
      expect((await send({ prepares: [incr(2, 'a')] })).votes[0]).toMatchObject({ kind: 'locked' });
    });

    it('ignores a lock that names another transaction', async () => {
      await send({ prepares: [incr(2)] });
      const reply = await send({ decisions: [abortOf(1, ['n']), commitOf(3, ['n'])] });
      expect(reply.decisions).toEqual(['acknowledged', 'lost']);
      await send({ decisions: [commitOf(2, ['n'])] });
      expect(await region().run('GET', 'n')).toBe('"1"');
    });

    it('is acknowledged at and below the low watermark, whether it commits or aborts', async () => {
      await send({ lowWatermark: [1, 3] });
      const decisions = [commitOf(2, ['a']), commitOf(3, ['b']), abortOf(1, ['c'])];
      const expected = ['acknowledged', 'acknowledged', 'acknowledged'];
      expect((await send({ decisions })).decisions).toEqual(expected);
    });

    it('stays settled when a late round with a lower watermark arrives', async () => {
      await send({ lowWatermark: [1, 3] });
      const reply = await send({ lowWatermark: [1, 1], prepares: [incr(2)] });
      expect(reply.votes).toEqual([{ kind: 'late' }]);
      const commit = await send({ lowWatermark: [1, 1], decisions: [commitOf(2, ['n'])] });
      expect(commit.decisions).toEqual(['acknowledged']);
    });

    it('orders the low watermark by incarnation before sequence', async () => {
      await send({ incarnation: 2, lowWatermark: [2, 0] });
      const reply = await send({ incarnation: 2, decisions: [commitOf(900, ['n'])] });
      expect(reply.decisions).toEqual(['acknowledged']);
    });

    it('discards the staged values of an abort, and leaves the key unchanged', async () => {
      await region().run('SET', 'n', '5');
      await send({ prepares: [incr(1)] });
      await send({ decisions: [abortOf(1, ['n'])] });
      expect(await region().run('GET', 'n')).toBe('"5"');
      expect(outcomesOf((await send({ prepares: [incr(2)] })).votes[0])).toBe('[[0,6]]');
    });

    it('is invisible to a plain client before the commit, and visible as a whole after it', async () => {
      await region().run('SET', 'old', '1');
      const operations = [
        set('new', '1'),
        write('APPEND', 'old', '2'),
        write('LPUSH', 'list', 'x'),
      ];
      await send({ prepares: [prepareOf(1, ['new', 'old', 'list'], part(...operations))] });
      expect(await region().run('EXISTS', 'new')).toBe('0');
      expect(await region().run('EXISTS', 'list')).toBe('0');
      expect(await region().run('GET', 'old')).toBe('"1"');
      await send({ decisions: [commitOf(1, ['new', 'old', 'list'])] });
      expect(await region().run('GET', 'new')).toBe('"1"');
      expect(await region().run('GET', 'old')).toBe('"12"');
      expect(await region().run('LRANGE', 'list', '0', '-1')).toBe('["x"]');
    });

    it('is applied even if other decisions of its round cannot be', async () => {
      await send({ prepares: [incr(1), incr(2, 'm')] });
      const decisions = [commitOf(9, ['x']), commitOf(1, ['n']), commitOf(2, ['m'])];
      const expected = ['lost', 'acknowledged', 'acknowledged'];
      expect((await send({ decisions })).decisions).toEqual(expected);
      expect(await region().run('GET', 'm')).toBe('"1"');
    });

    it('has the same reply for each copy of it in a round', async () => {
      await send({ prepares: [incr(1)] });
      const decisions = [commitOf(1, ['n']), commitOf(1, ['n'])];
      expect((await send({ decisions })).decisions).toEqual(['acknowledged', 'acknowledged']);
    });
  });
}
