import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CopyHarness, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';

/** A number of missed keys that is copied without a write pause at first. */
function tooManyForHold(): Readonly<Record<string, number>> {
  const names = Array.from({ length: limits.copyWritePauseKeys + 1 }, (_, at) => `m${at}`);
  return Object.fromEntries(names.map((name) => [name, 9]));
}

/** A copy in its first hold, in which the source has no room for the missed `a` and `b`. */
function outgrown(): CopyHarness {
  const harness = CopyHarness.begun(false, { a: 9, b: 9 });
  harness.copy.beginPause(startedAt);
  harness.answer(harness.atSource(), readingOf([], { left: ['a', 'b'] }));
  return harness;
}

// R37: a write pause is for keys that fit one step.
describe('the last few keys', () => {
  it('are left to the write pause', () => {
    const harness = CopyHarness.begun(false, { a: 9, b: 9 });
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.copy.nearsEnd).toBe(true);
    harness.copy.beginPause(startedAt);
    expect(harness.atSource()).toMatchObject({ kind: 'read', keys: [key('a'), key('b')] });
  });

  it('are left to the write pause though new ones are missed all the time: steps on their way end', () => {
    const harness = CopyHarness.begun(false, tooManyForHold());
    const miss = (name: string): void => {
      harness.sequence += 1;
      harness.target.missed.set(name, harness.sequence);
    };
    const read = harness.atSource();
    miss('n1');
    harness.answer(read);
    miss('n2');
    const behind = harness.atSource();
    expect(behind).toMatchObject({ keys: [key('n1'), key('n2')] });
    harness.answer(harness.atTarget());
    miss('n3');
    harness.answer(behind);
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.copy.nearsEnd).toBe(false);
    miss('n4');
    harness.answer(harness.atTarget());
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.copy.nearsEnd).toBe(true);
    expect([...harness.target.missed.keys()]).toEqual(['n3', 'n4']);
  });

  it('are not left to the write pause while others remain: a scan goes on', () => {
    const harness = CopyHarness.listed({ a: 9 });
    harness.answer(harness.atSource(), readingOf([], { cursor: '17', locked: ['b'] }));
    expect(harness.copy.nearsEnd).toBe(false);
    expect(harness.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
  });
});

describe('a value that a write pause finds too large for one step', () => {
  it.each([
    ['keys without room', readingOf(['a'], { left: ['b'] })],
    ['a value in pieces', readingOf(['a'], { items: [itemOf('a', '512')] })],
  ])('ends the write pause at once: %s', (_, reply) => {
    const harness = CopyHarness.begun(false, { a: 9, b: 9 });
    harness.copy.beginPause(startedAt);
    expect(harness.copy.isOutgrown).toBe(false);
    harness.answer(harness.atSource(), reply);
    expect(harness.copy.isOutgrown).toBe(true);
  });

  it('is copied without a write pause, and then the pause comes again for the keys missed meanwhile', () => {
    const harness = outgrown();
    harness.copy.endPause(startedAt);
    harness.move(readingOf(['a'], { left: ['b'] }));
    const read = harness.atSource();
    expect(read).toMatchObject({ kind: 'read', keys: [key('b')] });
    expect(harness.copy.nearsEnd).toBe(false);
    harness.answer(read);
    const write = harness.atTarget();
    harness.sequence = 11;
    harness.target.missed.set('c', 11);
    harness.answer(write);
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.copy.nearsEnd).toBe(true);
    harness.copy.beginPause(startedAt);
    const [last] = harness.move();
    expect(last).toMatchObject({ keys: [key('c')] });
    expect(harness.copy.isComplete).toBe(true);
  });

  it('is left to the next write pause if it is locked by then, since only a pause keeps it free', () => {
    const harness = outgrown();
    harness.copy.endPause(startedAt);
    harness.answer(harness.atSource(), readingOf([], { locked: ['a', 'b'] }));
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.copy.nearsEnd).toBe(true);
    expect([...harness.target.missed.keys()]).toEqual(['a', 'b']);
  });

  it('is copied in a write pause in the end, after it was too large several times', () => {
    const harness = CopyHarness.begun(false, { a: 9 });
    for (let hold = 1; hold <= limits.copyWritePausesCutShort; hold++) {
      harness.copy.beginPause(startedAt);
      harness.move(readingOf([], { items: [itemOf('a', '512')] }));
      expect(harness.copy.isOutgrown).toBe(true);
      harness.copy.endPause(startedAt);
      harness.move();
      harness.sequence += 1;
      harness.target.missed.set('a', harness.sequence);
    }
    harness.copy.beginPause(startedAt);
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    expect(harness.copy.isOutgrown).toBe(false);
    harness.move();
    expect(harness.copy.isComplete).toBe(true);
  });
});

describe('a write pause that was too short', () => {
  it('is followed by a pass without one over all remaining keys', () => {
    const harness = CopyHarness.begun(false, { a: 9 });
    harness.copy.beginPause(startedAt);
    harness.answer(harness.atSource(), null);
    harness.copy.endPause(startedAt + limits.copyPauseMs);
    const [read] = harness.move();
    expect(read).toMatchObject({ keys: [key('a')] });
    expect(harness.copy.isComplete).toBe(true);
  });
});
