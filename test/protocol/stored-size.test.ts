import { describe, expect, it } from 'vitest';
import { utf8Length } from '../../shared/contracts/bytes.ts';
import { limits } from '../../shared/limits.ts';
import { MissedKeyMap } from '../../shared/protocol/regions/missed-keys.ts';
import { partOfJson } from '../region/replies.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';

/** Has the regions vote yes with these outcomes, each a part's. */
function vote(harness: CoreHarness, outcomes: readonly string[]): void {
  for (const send of harness.flights) {
    const votes = send.round.prepares.map(({ parts, keys }) => ({
      kind: 'yes' as const,
      outcomes: outcomes.slice(0, parts.length).map(partOfJson),
      fingerprints: keys.map(() => 'absent'),
    }));
    harness.execute(send, { votes });
  }
}

const large = `[0,{"s":"${'\\u0000'.repeat(limits.rowBytes)}"}]`;

describe('a decision that is too large for a row', () => {
  it('is not stored: its write is refused, and the instance goes on', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    vote(harness, [large]);
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'refused', problem: 'too-large' });
    expect(harness.last.persist.some(({ kind }) => kind === 'commit')).toBe(false);
    const next = harness.arrive(frameOf(['a']));
    harness.settle();
    expect(harness.record(next)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });

  it('takes nothing from the others of its transaction: they are tried again without it', () => {
    const harness = CoreHarness.begun();
    const [small, big] = harness.arriveTogether([frameOf(['a']), frameOf(['a'])]);
    vote(harness, ['[0,{"s":"OK"}]', large]);
    harness.settle();
    expect(harness.answerTo(big ?? 0)).toMatchObject({ kind: 'refused', problem: 'too-large' });
    expect(harness.record(small ?? 0)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });
});

describe('the bound on memory', () => {
  it('counts undecided frames as well as those that wait', () => {
    const harness = CoreHarness.begun();
    const half = limits.queuedBytes / 2;
    const first = harness.arrive(frameOf(['a'], { bytes: half }));
    harness.arrive(frameOf(['b'], { bytes: half }));
    expect(harness.core.status()).toMatchObject({ queued: 0, undecided: 2 });
    expect(harness.answerTo(harness.arrive(frameOf(['c'], { bytes: 1 })))?.kind).toBe('busy');
    harness.settle();
    expect(harness.record(first).outcome).toBe('committed');
    const next = harness.arrive(frameOf(['c'], { bytes: 1 }));
    harness.settle();
    expect(harness.record(next).outcome).toBe('committed');
  });

  it('counts the names of missed keys in bytes, each once', () => {
    const marks = new MissedKeyMap();
    for (const text of ['', 'a', 'é', '한', '😀', 'a😀é']) {
      expect(utf8Length(text)).toBe(Buffer.byteLength(text));
      marks.set(text, 1).set(text, 2);
    }
    expect([marks.size, marks.bytes]).toEqual([6, 1 + 2 + 3 + 4 + 7]);
    expect([marks.delete('한'), marks.delete('한')]).toEqual([true, false]);
    expect(marks.bytes).toBe(14);
    marks.clear();
    expect([marks.size, marks.bytes]).toEqual([0, 0]);
  });
});

// Before `unavailable` is said, the clock by which a write was too late is stored.
describe('the clock by which a write was too late', () => {
  it('is stored with the answer, in place of a mere proof', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: harness.now + 5 }));
    harness.advance(10_000);
    expect(harness.answerTo(ticket)?.kind).toBe('unavailable');
    const clocks = harness.persisted.flatMap((write) =>
      write.kind === 'clock' ? [write.now] : [],
    );
    expect(clocks.at(-1)).toBeGreaterThanOrEqual(harness.now - 10_000 + 5);
  });

  it('keeps a later instance, whose clock is behind, from deciding a duplicate', () => {
    const harness = new CoreHarness({ stored: { now: start + 100 } });
    const ticket = harness.arrive(frameOf(['a'], { notAfter: start + 50 }));
    expect(harness.answerTo(ticket)?.kind).toBe('too-late');
  });
});
