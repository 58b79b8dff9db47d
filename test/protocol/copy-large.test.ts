import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CopyHarness, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';

describe('a value too large for one step', () => {
  it.each([
    ['has no room', readingOf([], { left: ['a'] })],
    ['goes in pieces', readingOf([], { items: [itemOf('a', '512')] })],
  ])(
    'ends the write pause at once if it is an unmarked key that was locked before: it %s',
    (_, reply) => {
      const harness = CopyHarness.listed();
      harness.answer(harness.atSource(), readingOf([], { locked: ['a'], total: 1 }));
      harness.copy.beginPause(startedAt);
      harness.answer(harness.atSource(), reply);
      expect(harness.copy.isOutgrown).toBe(true);
    },
  );

  it('gets a write pause though it is written to between its pieces', () => {
    const harness = CopyHarness.begun(false, { a: 9 });
    harness.copy.beginPause(startedAt);
    harness.answer(harness.atSource(), readingOf([], { left: ['a'] }));
    harness.copy.endPause(startedAt);
    let steps = 0;
    const pieces: Record<string, string | null> = { '': '1', '1': '2', '2': null };
    for (; !harness.copy.nearsEnd && steps < 100; steps += 1) {
      harness.copy.plan(harness.sequence, false);
      const read = harness.source.copyStep;
      if (read?.kind !== 'read') continue;
      const at = read.keys[0]?.from ?? '';
      harness.answer(
        harness.atSource(),
        readingOf([], { items: [itemOf('a', pieces[at] ?? null)] }),
      );
      harness.answer(harness.atTarget());
      harness.sequence += 1;
      harness.target.missed.set('a', harness.sequence);
    }
    expect(steps).toBeLessThan(100);
  });
});

describe('a later piece that does not fit the earlier ones', () => {
  const failed = [{ key: 'a', reason: 'Bad data format' }];

  /** The value of `a` comes in two pieces, of which the target refuses the second one. */
  const breakPiece = (harness: CopyHarness) => {
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    harness.answer(harness.atSource());
    return harness.answer(harness.atTarget(), { kind: 'written', failed });
  };

  it('is read from the beginning again, in the same form', () => {
    const harness = CopyHarness.paused({ a: 9 });
    expect(breakPiece(harness).kind).toBe('going');
    expect(harness.atSource()).toEqual({ kind: 'read', keys: [key('a')], form: 'dump' });
  });

  it('fails the copy if it never fits', () => {
    const harness = CopyHarness.paused({ a: 9 });
    for (let times = 0; times < limits.copyPiecesBroken; times += 1) {
      expect(breakPiece(harness).kind).toBe('going');
    }
    expect(breakPiece(harness)).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('Bad data format'),
    });
  });
});
