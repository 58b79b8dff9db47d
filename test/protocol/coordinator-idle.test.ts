import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const hourMs = 60 * 60 * 1_000;
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A harness that has decided a write, and has stored since that nothing is open anywhere. */
function resting(): CoreHarness {
  const harness = CoreHarness.begun();
  harness.arrive(frameOf(['a'], lasting));
  harness.run(1_000);
  harness.run(limits.restAfterMs);
  return harness;
}

/** How many rounds leave for each region while `act` goes on. */
function roundsTo(harness: CoreHarness, act: () => void): Record<string, number> {
  const before = harness.rounds.length;
  act();
  const counts: Record<string, number> = {};
  for (const { region } of harness.rounds.slice(before)) counts[region] = (counts[region] ?? 0) + 1;
  return counts;
}

// R44: an idle deployment sends nothing to its regions.
describe('an idle coordinator', () => {
  it('sends nothing in an hour, and needs no alarm', () => {
    const harness = resting();
    expect(harness.core.busy).toBe(false);
    expect(roundsTo(harness, () => harness.run(hourMs))).toEqual({});
    expect(harness.last.wakeAt).toBeNull();
  });

  it('sends nothing after a restart either, regardless of the number of restarts', () => {
    let harness = resting();
    for (let life = 0; life < 120; life += 1) {
      harness = harness.restarted();
      harness.tick();
      expect(roundsTo(harness, () => harness.run(hourMs / 120))).toEqual({});
      expect(harness.core.busy).toBe(false);
    }
  });

  it('asks for older locks in the round that brings the next prepare', () => {
    const harness = resting().restarted();
    harness.tick();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    expect(harness.flights).toHaveLength(3);
    for (const { round } of harness.flights) {
      expect(round).toMatchObject({ askOlder: true, lowWatermark: [0, 0] });
      expect(round.prepares).toHaveLength(1);
    }
    harness.run(1_000);
    expect(harness.record(ticket).outcome).toBe('committed');
  });

  it('clears its idle record before the first prepare leaves, so that older locks are found after a crash', () => {
    const harness = resting();
    harness.arrive(frameOf(['a'], lasting));
    expect(harness.last.persist).toContainEqual({ kind: 'rest', isResting: false });
    expect(harness.sent.map(({ round }) => round.prepares.length)).toEqual([1, 1, 1]);
    const next = harness.restarted();
    next.tick();
    next.run(limits.commitLingerMs);
    expect(next.rounds.map(({ round }) => round.askOlder)).toEqual([true, true, true]);
  });

  it('is not recorded as idle while a write is open, or shortly after', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    harness.arrive(frameOf(['a'], lasting));
    harness.executeAll();
    harness.run(10 * limits.restAfterMs, []);
    expect(harness.tables.isResting).toBe(false);
    while (harness.core.busy) harness.run(1);
    harness.run(limits.restAfterMs - 2);
    expect(harness.tables.isResting).toBe(false);
    harness.run(3);
    expect(harness.tables.isResting).toBe(true);
  });

  it('stores its idle record once, and clears it once', () => {
    const harness = resting();
    for (const key of ['a', 'b', 'c']) harness.arrive(frameOf([key], lasting));
    harness.run(3 * limits.restAfterMs);
    const words = harness.persisted.flatMap((write) =>
      write.kind === 'rest' ? [write.isResting] : [],
    );
    expect(words).toEqual([true, false, true]);
  });

  it('clears its idle record with a change of members', () => {
    const harness = resting();
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    expect(harness.statusOf('far').state).toBe('out');
    const words = harness.persisted.flatMap((write) =>
      write.kind === 'rest' ? [write.isResting] : [],
    );
    expect(words).toEqual([true, false]);
  });

  it('can evict a region after a restart before it has sent any round', () => {
    const harness = resting().restarted();
    harness.tick();
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs + 100);
    expect(harness.statusOf('far').state).toBe('out');
  });
});

describe('a region that is out of an idle coordinator', () => {
  const others = ['near', 'middle'];

  /** A new instance that finds `far` out since `outForMs`. */
  function awaiting(outForMs: number): CoreHarness {
    const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
    const now = 1_000_000 + outForMs;
    const far = outOf('far', { since: now - outForMs });
    const harness = new CoreHarness({
      now,
      stored: { epoch: 4, regions: [...regions.slice(0, 2), far] },
    });
    harness.tick();
    return harness;
  }

  it('is probed alone, with pauses that grow to a minute', () => {
    const harness = awaiting(0);
    harness.run(10 * 60_000, others);
    const counts = roundsTo(harness, () => harness.run(hourMs, others));
    const everyMs = limits.idleProbeBackoffMaxMs + 100;
    expect(Object.keys(counts)).toEqual(['far']);
    expect(counts.far).toBeLessThanOrEqual(Math.ceil(hourMs / everyMs));
    expect(harness.core.busy).toBe(false);
    expect(harness.core.awaitsReturn).toBe(true);
  });

  it('is not probed more often after a restart', () => {
    const harness = awaiting(hourMs);
    expect(
      roundsTo(harness, () => harness.run(3 * limits.idleProbeBackoffMaxMs, others)),
    ).toMatchObject({
      far: 3,
    });
  });

  it('is probed within seconds after a client writes', () => {
    const harness = awaiting(hourMs);
    harness.run(2 * limits.idleProbeBackoffMaxMs, others);
    const work = () => {
      harness.arrive(frameOf(['a'], lasting));
      harness.run(limits.outProbeBackoffMaxMs, others);
    };
    expect(roundsTo(harness, work)).toMatchObject({ far: 1 });
  });
});
