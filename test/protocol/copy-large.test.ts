import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Bench, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';

describe('a value too large for one step', () => {
  it.each([
    ['has no room', readingOf([], { left: ['a'] })],
    ['goes in pieces', readingOf([], { items: [itemOf('a', '512')] })],
  ])(
    'ends the write pause at once if it is an unmarked key that was locked before: it %s',
    (_, reply) => {
      const bench = Bench.listed();
      bench.answer(bench.atSource(), readingOf([], { locked: ['a'], total: 1 }));
      bench.copy.beginPause(startedAt);
      bench.answer(bench.atSource(), reply);
      expect(bench.copy.isOutgrown).toBe(true);
    },
  );

  it('gets a write pause though it is written to between its pieces', () => {
    const bench = Bench.begun(false, { a: 9 });
    bench.copy.beginPause(startedAt);
    bench.answer(bench.atSource(), readingOf([], { left: ['a'] }));
    bench.copy.endPause(startedAt);
    let steps = 0;
    const pieces: Record<string, string | null> = { '': '1', '1': '2', '2': null };
    for (; !bench.copy.nearsEnd && steps < 100; steps += 1) {
      bench.copy.plan(bench.sequence, false);
      const read = bench.source.copyStep;
      if (read?.kind !== 'read') continue;
      const at = read.keys[0]?.from ?? '';
      bench.answer(bench.atSource(), readingOf([], { items: [itemOf('a', pieces[at] ?? null)] }));
      bench.answer(bench.atTarget());
      bench.sequence += 1;
      bench.target.missed.set('a', bench.sequence);
    }
    expect(steps).toBeLessThan(100);
  });
});

describe('a later piece that does not fit the earlier ones', () => {
  const failed = [{ key: 'a', reason: 'Bad data format' }];

  /** The value of `a` comes in two pieces, of which the target refuses the second one. */
  const breakPiece = (bench: Bench) => {
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    bench.answer(bench.atSource());
    return bench.answer(bench.atTarget(), { kind: 'written', failed });
  };

  it('is read from the beginning again, in the same form', () => {
    const bench = Bench.paused({ a: 9 });
    expect(breakPiece(bench).kind).toBe('going');
    expect(bench.atSource()).toEqual({ kind: 'read', keys: [key('a')], form: 'dump' });
  });

  it('fails the copy if it never fits', () => {
    const bench = Bench.paused({ a: 9 });
    for (let times = 0; times < limits.copyPiecesBroken; times += 1) {
      expect(breakPiece(bench).kind).toBe('going');
    }
    expect(breakPiece(bench)).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('Bad data format'),
    });
  });
});
