import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Bench, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';

/** A number of missed keys that is copied without a write pause at first. */
function tooManyForHold(): Readonly<Record<string, number>> {
  const names = Array.from({ length: limits.copyWritePauseKeys + 1 }, (_, at) => `m${at}`);
  return Object.fromEntries(names.map((name) => [name, 9]));
}

/** A copy in its first hold, in which the source has no room for the missed `a` and `b`. */
function outgrown(): Bench {
  const bench = Bench.begun(false, { a: 9, b: 9 });
  bench.copy.beginPause(startedAt);
  bench.answer(bench.atSource(), readingOf([], { left: ['a', 'b'] }));
  return bench;
}

// R37: a write pause is for keys that fit one step.
describe('the last few keys', () => {
  it('are left to the write pause', () => {
    const bench = Bench.begun(false, { a: 9, b: 9 });
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    bench.copy.beginPause(startedAt);
    expect(bench.atSource()).toMatchObject({ kind: 'read', keys: [key('a'), key('b')] });
  });

  it('are left to the write pause though new ones are missed all the time: steps on their way end', () => {
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

  it('are not left to the write pause while others remain: a scan goes on', () => {
    const bench = Bench.listed({ a: 9 });
    bench.answer(bench.atSource(), readingOf([], { cursor: '17', locked: ['b'] }));
    expect(bench.copy.nearsEnd).toBe(false);
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
  });
});

describe('a value that a write pause finds too large for one step', () => {
  it.each([
    ['keys without room', readingOf(['a'], { left: ['b'] })],
    ['a value in pieces', readingOf(['a'], { items: [itemOf('a', '512')] })],
  ])('ends the write pause at once: %s', (_, reply) => {
    const bench = Bench.begun(false, { a: 9, b: 9 });
    bench.copy.beginPause(startedAt);
    expect(bench.copy.isOutgrown).toBe(false);
    bench.answer(bench.atSource(), reply);
    expect(bench.copy.isOutgrown).toBe(true);
  });

  it('is copied without a write pause, and then the pause comes again for the keys missed meanwhile', () => {
    const bench = outgrown();
    bench.copy.endPause(startedAt);
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
    bench.copy.beginPause(startedAt);
    const [last] = bench.move();
    expect(last).toMatchObject({ keys: [key('c')] });
    expect(bench.copy.isComplete).toBe(true);
  });

  it('is left to the next write pause if it is locked by then, since only a pause keeps it free', () => {
    const bench = outgrown();
    bench.copy.endPause(startedAt);
    bench.answer(bench.atSource(), readingOf([], { locked: ['a', 'b'] }));
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.copy.nearsEnd).toBe(true);
    expect([...bench.target.missed.keys()]).toEqual(['a', 'b']);
  });

  it('is copied in a write pause in the end, after it was too large several times', () => {
    const bench = Bench.begun(false, { a: 9 });
    for (let hold = 1; hold <= limits.copyWritePausesCutShort; hold++) {
      bench.copy.beginPause(startedAt);
      bench.move(readingOf([], { items: [itemOf('a', '512')] }));
      expect(bench.copy.isOutgrown).toBe(true);
      bench.copy.endPause(startedAt);
      bench.move();
      bench.sequence += 1;
      bench.target.missed.set('a', bench.sequence);
    }
    bench.copy.beginPause(startedAt);
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    expect(bench.copy.isOutgrown).toBe(false);
    bench.move();
    expect(bench.copy.isComplete).toBe(true);
  });
});

describe('a write pause that was too short', () => {
  it('is followed by a pass without one over all remaining keys', () => {
    const bench = Bench.begun(false, { a: 9 });
    bench.copy.beginPause(startedAt);
    bench.answer(bench.atSource(), null);
    bench.copy.endPause(startedAt + limits.copyPauseMs);
    const [read] = bench.move();
    expect(read).toMatchObject({ keys: [key('a')] });
    expect(bench.copy.isComplete).toBe(true);
  });
});
