import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { MissedMarks } from '../../shared/protocol/regions/missed-marks.ts';
import { bytesInUtf8 } from '../../shared/protocol/transactions/bytes.ts';
import { partOfJson } from '../region/replies.ts';
import { frameOf, Rig, start } from './core-harness.ts';

/** Has the regions vote yes with these outcomes, each a part's. */
function vote(rig: Rig, outcomes: readonly string[]): void {
  for (const send of rig.flights) {
    const votes = send.round.prepares.map(({ parts, keys }) => ({
      kind: 'yes' as const,
      outcomes: outcomes.slice(0, parts.length).map(partOfJson),
      fingerprints: keys.map(() => 'absent'),
    }));
    rig.execute(send, { votes });
  }
}

const large = `[0,{"s":"${'\\u0000'.repeat(limits.rowBytes)}"}]`;

describe('a decision that is too large for a row', () => {
  it('is not stored: its write is refused, and the instance goes on', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    vote(rig, [large]);
    expect(rig.told(ticket)).toMatchObject({ kind: 'refused', problem: 'too-large' });
    expect(rig.last.persist.some(({ kind }) => kind === 'commit')).toBe(false);
    const next = rig.arrive(frameOf(['a']));
    rig.settle();
    expect(rig.record(next)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });

  it('takes nothing from the others of its transaction: they are tried again without it', () => {
    const rig = Rig.greeted();
    const [small, big] = rig.arriveTogether([frameOf(['a']), frameOf(['a'])]);
    vote(rig, ['[0,{"s":"OK"}]', large]);
    rig.settle();
    expect(rig.told(big ?? 0)).toMatchObject({ kind: 'refused', problem: 'too-large' });
    expect(rig.record(small ?? 0)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });
});

describe('the bound of what is in memory', () => {
  it('counts undecided frames as well as those that wait', () => {
    const rig = Rig.greeted();
    const half = limits.queuedBytes / 2;
    const first = rig.arrive(frameOf(['a'], { bytes: half }));
    rig.arrive(frameOf(['b'], { bytes: half }));
    expect(rig.core.status()).toMatchObject({ queued: 0, undecided: 2 });
    expect(rig.told(rig.arrive(frameOf(['c'], { bytes: 1 })))?.kind).toBe('busy');
    rig.settle();
    expect(rig.record(first).outcome).toBe('committed');
    const next = rig.arrive(frameOf(['c'], { bytes: 1 }));
    rig.settle();
    expect(rig.record(next).outcome).toBe('committed');
  });

  it('counts the names of missed keys in bytes, each once', () => {
    const marks = new MissedMarks();
    for (const text of ['', 'a', 'é', '한', '😀', 'a😀é']) {
      expect(bytesInUtf8(text)).toBe(Buffer.byteLength(text));
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
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: rig.now + 5 }));
    rig.advance(10_000);
    expect(rig.told(ticket)?.kind).toBe('unavailable');
    const clocks = rig.persisted.flatMap((write) => (write.kind === 'clock' ? [write.now] : []));
    expect(clocks.at(-1)).toBeGreaterThanOrEqual(rig.now - 10_000 + 5);
  });

  it('keeps a later instance, whose clock is behind, from deciding a duplicate', () => {
    const rig = new Rig({ stored: { now: start + 100 } });
    const ticket = rig.arrive(frameOf(['a'], { notAfter: start + 50 }));
    expect(rig.told(ticket)?.kind).toBe('too-late');
  });
});
