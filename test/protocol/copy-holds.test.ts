import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Bench, key, startedAt } from './copy-bench.ts';
import { itemOf, readingOf } from './replies.ts';

/** So many missed keys that they are copied without a hold at first. */
function tooManyForHold(): Readonly<Record<string, number>> {
  const names = Array.from({ length: limits.copyHoldKeys + 1 }, (_, at) => `m${at}`);
  return Object.fromEntries(names.map((name) => [name, 9]));
}

/** A copy in its first hold, in which the source has no room for the missed `a` and `b`. */
function outgrown(): Bench {
  const bench = Bench.begun(false, { a: 9, b: 9 });
  bench.copy.hold(startedAt);
  bench.answer(bench.atSource(), readingOf([], { left: ['a', 'b'] }));
  return bench;
}

// R37: a hold is for what one step can bring over.
describe('the last few keys', () => {
  it('are left to the hold', () => {
    const bench = Bench.begun(false, { a: 9, b: 9 });
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    bench.copy.hold(startedAt);
    expect(bench.atSource()).toMatchObject({ kind: 'read', keys: [key('a'), key('b')] });
  });

  it('are left to the hold though new ones are missed all the time: what is on its way ends', () => {
    const bench = Bench.begun(false, tooManyForHold());
    const miss = (name: string): void => {
      bench.sequence += 1;
      bench.target.missed.set(name, bench.sequence);
    };
    const read = bench.atSource();
    miss('n1');
    bench.answer(read);
    miss('n2');
    const behind = bench.atSource();
    expect(behind).toMatchObject({ keys: [key('n1'), key('n2')] });
    bench.answer(bench.atTarget());
    miss('n3');
    bench.answer(behind);
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(false);
    miss('n4');
    bench.answer(bench.atTarget());
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    expect([...bench.target.missed.keys()]).toEqual(['n3', 'n4']);
  });

  it('are not left to the hold while they are not all: a scan goes on', () => {
    const bench = Bench.listed({ a: 9 });
    bench.answer(bench.atSource(), readingOf([], { cursor: '17', locked: ['b'] }));
    expect(bench.copy.nearsEnd).toBe(false);
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
  });
});

describe('what a hold finds too large for one step', () => {
  it.each([
    ['keys without room', readingOf(['a'], { left: ['b'] })],
    ['a value in pieces', readingOf(['a'], { items: [itemOf('a', '512')] })],
  ])('ends the hold at once: %s', (_, reply) => {
    const bench = Bench.begun(false, { a: 9, b: 9 });
    bench.copy.hold(startedAt);
    expect(bench.copy.isOutgrown).toBe(false);
    bench.answer(bench.atSource(), reply);
    expect(bench.copy.isOutgrown).toBe(true);
  });

  it('is copied without a hold, and then the hold comes again for what was missed meanwhile', () => {
    const bench = outgrown();
    bench.copy.release(startedAt);
    bench.move(readingOf(['a'], { left: ['b'] }));
    const read = bench.atSource();
    expect(read).toMatchObject({ kind: 'read', keys: [key('b')] });
    expect(bench.copy.nearsEnd).toBe(false);
    bench.answer(read);
    const write = bench.atTarget();
    bench.sequence = 11;
    bench.target.missed.set('c', 11);
    bench.answer(write);
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    bench.copy.hold(startedAt);
    const [last] = bench.move();
    expect(last).toMatchObject({ keys: [key('c')] });
    expect(bench.copy.isComplete).toBe(true);
  });

  it('is left to the next hold where it is locked by then, since only a hold keeps it free', () => {
    const bench = outgrown();
    bench.copy.release(startedAt);
    bench.answer(bench.atSource(), readingOf([], { locked: ['a', 'b'] }));
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    expect([...bench.target.missed.keys()]).toEqual(['a', 'b']);
  });

  it('is copied in a hold at last, where it was too large so many times', () => {
    const bench = Bench.begun(false, { a: 9 });
    for (let hold = 1; hold <= limits.copyHoldsCutShort; hold++) {
      bench.copy.hold(startedAt);
      bench.move(readingOf([], { items: [itemOf('a', '512')] }));
      expect(bench.copy.isOutgrown).toBe(true);
      bench.copy.release(startedAt);
      bench.move();
      bench.sequence += 1;
      bench.target.missed.set('a', bench.sequence);
    }
    bench.copy.hold(startedAt);
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    expect(bench.copy.isOutgrown).toBe(false);
    bench.move();
    expect(bench.copy.isComplete).toBe(true);
  });
});

describe('a hold that was too short', () => {
  it('is followed by a pass without one over all that is left', () => {
    const bench = Bench.begun(false, { a: 9 });
    bench.copy.hold(startedAt);
    bench.answer(bench.atSource(), null);
    bench.copy.release(startedAt + limits.copyPauseMs);
    const [read] = bench.move();
    expect(read).toMatchObject({ keys: [key('a')] });
    expect(bench.copy.isComplete).toBe(true);
  });
});
