import { describe, expect, it } from 'vitest';
import type { RoundPair } from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import {
  abortOf,
  commitOf,
  executed,
  ofIncarnation,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from '../fixtures.ts';
import type { Implementation } from '../implementations.ts';

/** Claims about the rounds that a region accepts: generation, epoch, incarnation, and the loss check. */
export function claimFences(region: () => Implementation): void {
  const send = (given: Parameters<typeof roundOf>[0]) => region().round(roundOf(given));
  const write = (sequence: number) => prepareOf(sequence, ['k'], part(set('k', String(sequence))));

  describe('generation', () => {
    it('is taken by a region without state only from a round that begins it', async () => {
      const early = await send({ begin: false, prepares: [write(1)] });
      expect(early).toEqual({ kind: 'refused', refusal: { kind: 'generation', has: 0, keys: 0 } });
      expect((await send({ begin: true })).kind).toBe('executed');
      expect((await send({ begin: false })).kind).toBe('executed');
    });

    it('refuses a whole round of another generation, lower or higher', async () => {
      await send({ generation: 5, prepares: [write(1)] });
      for (const generation of [4, 6]) {
        const decisions = [commitOf(1, ['k'])];
        const result = await send({ generation, epoch: 9, decisions });
        expect(result).toEqual({
          kind: 'refused',
          refusal: { kind: 'generation', has: 5, keys: 0 },
        });
      }
      expect(await region().run('GET', 'k')).toBe('null');
      const after = executed(await send({ generation: 5, prepares: [write(2)] }));
      expect(after.votes[0]).toMatchObject({ kind: 'locked' });
    });

    it('refuses a snapshot of another generation, and of a region without state', async () => {
      const request = snapshotOf(['k'], []);
      expect(await region().snapshot(request)).toMatchObject({ refusal: { has: 0 } });
      await send({ generation: 2 });
      expect(await region().snapshot(request)).toMatchObject({ refusal: { has: 2 } });
    });

    it('replaces no more keys than the round allows, and a refusal reports their number', async () => {
      for (const key of ['x', 'y']) await region().run('SET', key, '1');
      await region().run('SET', 'lockstep:doctor:mark', '1');
      await region().run('SET', 'gone', '1', 'PXAT', '1');
      for (const takes of [0, 1]) {
        const result = await send({ takes, prepares: [write(1)] });
        expect(result).toEqual({
          kind: 'refused',
          refusal: { kind: 'generation', has: 0, keys: 2 },
        });
      }
      expect((await send({ takes: 2, prepares: [write(1)] })).kind).toBe('executed');
      const other = await send({ generation: 9 });
      expect(other).toEqual({ kind: 'refused', refusal: { kind: 'generation', has: 1, keys: 2 } });
      expect((await send({ takes: 0 })).kind).toBe('executed');
    });

    it('counts more than a thousand keys exactly, and is refused for one less', async () => {
      for (let key = 0; key < 1_001; key += 1) await region().run('SET', `many:${key}`, '');
      const refusal = { kind: 'generation', has: 0, keys: 1_001 };
      expect(await send({ takes: 1_000 })).toEqual({ kind: 'refused', refusal });
      expect((await send({ takes: 1_001 })).kind).toBe('executed');
    });

    it('is not begun again in a wiped region by a round that does not begin it', async () => {
      await send({ prepares: [write(1)] });
      await region().wipe();
      const result = await send({ begin: false, decisions: [commitOf(1, ['k'])] });
      expect(result).toEqual({ kind: 'refused', refusal: { kind: 'generation', has: 0, keys: 0 } });
    });
  });

  describe('epoch', () => {
    it('fences prepares of a lower one, and takes decisions of any', async () => {
      await send({ epoch: 3, prepares: [write(1)] });
      const round = { epoch: 2, decisions: [commitOf(1, ['k'])], prepares: [write(2)] };
      const reply = executed(await send(round));
      expect(reply.decisions).toEqual(['acknowledged']);
      expect(reply.votes).toEqual([{ kind: 'fenced', by: 'epoch' }]);
      expect(await region().run('GET', 'k')).toBe('"1"');
    });

    it('is raised by a round that carries nothing else', async () => {
      await send({ epoch: 4 });
      const reply = executed(await send({ epoch: 3, prepares: [write(1)] }));
      expect(reply.votes).toEqual([{ kind: 'fenced', by: 'epoch' }]);
    });
  });

  describe('incarnation', () => {
    it('fences prepares of a lower one than the highest seen', async () => {
      await send({ incarnation: 2 });
      const reply = executed(await send({ incarnation: 1, prepares: [write(1)] }));
      expect(reply.votes).toEqual([{ kind: 'fenced', by: 'incarnation' }]);
    });

    it('refuses a decision about a transaction of a higher incarnation than its sender', async () => {
      await send({ incarnation: 2, prepares: [ofIncarnation(2, write(1))] });
      for (const decision of [commitOf(1, ['k']), abortOf(1, ['k'])]) {
        const decisions = [ofIncarnation(2, decision)];
        const reply = executed(await send({ incarnation: 1, decisions }));
        expect(reply.decisions).toEqual(['refused']);
      }
      const after = executed(
        await send({ incarnation: 2, decisions: [ofIncarnation(2, commitOf(1, ['k']))] }),
      );
      expect(after.decisions).toEqual(['acknowledged']);
    });

    it('lists the locks of older incarnations with all their keys, after the decisions', async () => {
      const both = prepareOf(2, ['ä', 'b'], part(set('b', '2'), set('ä', '2')));
      await send({ prepares: [write(1), both, prepareOf(3, ['c'], part(set('c', '3')))] });
      const own = ofIncarnation(2, prepareOf(1, ['c']));
      const decisions = [abortOf(3, ['c'])];
      const round = { incarnation: 2, askOlder: true, decisions, prepares: [own] };
      const reply = executed(await send(round));
      expect(reply.older).toEqual([
        { transaction: [1, 1], keys: ['k'] },
        { transaction: [1, 2], keys: ['b', 'ä'] },
      ]);
      expect(reply.olderTruncated).toBe(false);
    });

    it('reports that the list of locks is truncated if it exceeds its limit', async () => {
      const keys = Array.from({ length: limits.olderLocksPerAnswer }, (_, index) => `k${index}`);
      await send({ prepares: [prepareOf(1, keys), prepareOf(2, ['one more'])] });
      const reply = executed(await send({ incarnation: 2, askOlder: true }));
      expect(reply.older.map((lock) => lock.keys.length)).toEqual([keys.length]);
      expect(reply.olderTruncated).toBe(true);
    });
  });

  describe('history', () => {
    const leavePairs = async (count: number) => {
      for (let index = 0; index < count; index += 1) {
        await send({ nonce: `mark${index + 1}`, decisions: [abortOf(index + 1, ['k'])] });
      }
    };
    const refusalFor = async (lastAcknowledged: RoundPair) => {
      const result = await send({ lastAcknowledged, prepares: [write(1000)] });
      return result.kind === 'refused' ? result.refusal.kind : result.kind;
    };

    it('executes a round whose pair it contains', async () => {
      await leavePairs(3);
      expect(await refusalFor([3, 'mark3'])).toBe('executed');
      expect(await refusalFor([1, 'mark1'])).toBe('executed');
    });

    it('is lost if the pair is newer, has another nonce, or everything is gone', async () => {
      await leavePairs(3);
      expect(await refusalFor([4, 'mark4'])).toBe('lost');
      expect(await refusalFor([2, 'other'])).toBe('lost');
      await region().wipe();
      expect(await refusalFor([3, 'mark3'])).toBe('lost');
    });

    it('is lost after a rollback, even if late rounds have filled it again', async () => {
      await leavePairs(2);
      const restore = await region().backup();
      await leavePairs(2);
      await restore();
      expect(await refusalFor([4, 'mark2'])).toBe('lost');
      await send({ nonce: 'late1', decisions: [abortOf(90, ['k'])] });
      await send({ nonce: 'late2', decisions: [abortOf(91, ['k'])] });
      expect(await refusalFor([4, 'mark2'])).toBe('lost');
    });

    it('refuses a pair older than its oldest, which is no loss, and compares the oldest exactly', async () => {
      await leavePairs(limits.historyPairs + 1);
      expect(await refusalFor([1, 'mark1'])).toBe('history');
      expect(await refusalFor([2, 'other'])).toBe('lost');
      expect(await refusalFor([2, 'mark2'])).toBe('executed');
      expect(await refusalFor([2, 'mark2'])).toBe('history');
    });

    it('is unchanged by a refused round', async () => {
      await leavePairs(1);
      const result = await send({
        lastAcknowledged: [7, 'x'],
        epoch: 9,
        incarnation: 9,
        prepares: [write(5)],
      });
      expect(result).toEqual({ kind: 'refused', refusal: { kind: 'lost' } });
      const reply = executed(await send({ lastAcknowledged: [1, 'mark1'], prepares: [write(5)] }));
      expect(reply.votes[0]?.kind).toBe('yes');
      expect(reply.history.map(([counter]) => counter)).toEqual([1, 2]);
    });

    it('is returned as its last pairs, newest last, and a round without work adds none', async () => {
      await leavePairs(10);
      const expected = [3, 4, 5, 6, 7, 8, 9, 10].map((index) => [index, `mark${index}`]);
      const probe = executed(await send({ lastAcknowledged: [10, 'mark10'] }));
      expect(probe.history).toEqual(expected);
    });

    it('records another pair for a round that was not executed completely, and accepts that pair', async () => {
      const pairs: RoundPair[] = [];
      for (const sequence of [1, 1]) {
        const reply = executed(
          await send({ nonce: `try${pairs.length}`, prepares: [write(sequence)] }),
        );
        pairs.push(...reply.history.slice(-1));
      }
      expect(pairs).toEqual([
        [1, 'try0'],
        [2, expect.stringMatching(/^try1\.[0-9a-f]{8}$/)],
      ]);
      const [, last] = pairs;
      if (last === undefined) throw new Error('there are two rounds');
      expect(await refusalFor([2, 'try1'])).toBe('lost');
      expect(await refusalFor(last)).toBe('executed');
    });

    it('keeps a pair of each round that raises a fence, so that its loss is detected', async () => {
      await leavePairs(1);
      const raises = [{ epoch: 2 }, { epoch: 2, incarnation: 2 }, { epoch: 2, incarnation: 2 }];
      const pairs = [];
      for (const [index, fences] of raises.entries()) {
        pairs.push(executed(await send({ ...fences, nonce: `raise${index}` })).history.at(-1));
      }
      expect(pairs).toEqual([
        [2, 'raise0'],
        [3, 'raise1'],
        [3, 'raise1'],
      ]);
    });
  });
}
