import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const hourMs = 60 * 60 * 1_000;
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A rig that has decided a write, and has stored since that nothing is open anywhere. */
function resting(): Rig {
  const rig = Rig.greeted();
  rig.arrive(frameOf(['a'], lasting));
  rig.run(1_000);
  rig.run(limits.restAfterMs);
  return rig;
}

/** How many rounds leave for each region while `act` goes on. */
function roundsTo(rig: Rig, act: () => void): Record<string, number> {
  const before = rig.rounds.length;
  act();
  const counts: Record<string, number> = {};
  for (const { region } of rig.rounds.slice(before)) counts[region] = (counts[region] ?? 0) + 1;
  return counts;
}

// R44: an idle deployment sends nothing to its regions.
describe('an idle coordinator', () => {
  it('sends nothing in an hour, and needs no alarm', () => {
    const rig = resting();
    expect(rig.core.busy).toBe(false);
    expect(roundsTo(rig, () => rig.run(hourMs))).toEqual({});
    expect(rig.last.wakeAt).toBeNull();
  });

  it('sends nothing in a new life either, however often one begins', () => {
    let rig = resting();
    for (let life = 0; life < 120; life += 1) {
      rig = rig.restarted();
      rig.tick();
      expect(roundsTo(rig, () => rig.run(hourMs / 120))).toEqual({});
      expect(rig.core.busy).toBe(false);
    }
  });

  it('asks for older locks in the round that brings the next prepare', () => {
    const rig = resting().restarted();
    rig.tick();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    expect(rig.flights).toHaveLength(3);
    for (const { round } of rig.flights) {
      expect(round).toMatchObject({ askOlder: true, floor: [0, 0] });
      expect(round.prepares).toHaveLength(1);
    }
    rig.run(1_000);
    expect(rig.record(ticket).outcome).toBe('committed');
  });

  it('takes its word back with the first prepare, before that leaves, so that a crash finds older locks', () => {
    const rig = resting();
    rig.arrive(frameOf(['a'], lasting));
    expect(rig.last.persist).toContainEqual({ kind: 'rest', isResting: false });
    expect(rig.sent.map(({ round }) => round.prepares.length)).toEqual([1, 1, 1]);
    const next = rig.restarted();
    next.tick();
    next.run(limits.commitLingerMs);
    expect(next.rounds.map(({ round }) => round.askOlder)).toEqual([true, true, true]);
  });

  it('does not give its word while something is open, or has been a moment ago', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    rig.arrive(frameOf(['a'], lasting));
    rig.executeAll();
    rig.run(10 * limits.restAfterMs, []);
    expect(rig.tables.isResting).toBe(false);
    while (rig.core.busy) rig.run(1);
    rig.run(limits.restAfterMs - 2);
    expect(rig.tables.isResting).toBe(false);
    rig.run(3);
    expect(rig.tables.isResting).toBe(true);
  });

  it('stores its word once, and takes it back once', () => {
    const rig = resting();
    for (const key of ['a', 'b', 'c']) rig.arrive(frameOf([key], lasting));
    rig.run(3 * limits.restAfterMs);
    const words = rig.persisted.flatMap((write) =>
      write.kind === 'rest' ? [write.isResting] : [],
    );
    expect(words).toEqual([true, false, true]);
  });

  it('takes its word back with a change of members', () => {
    const rig = resting();
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    expect(rig.statusOf('far').state).toBe('out');
    const words = rig.persisted.flatMap((write) =>
      write.kind === 'rest' ? [write.isResting] : [],
    );
    expect(words).toEqual([true, false]);
  });

  it('can put a region out in a life in which nobody has been asked so far', () => {
    const rig = resting().restarted();
    rig.tick();
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs + 100);
    expect(rig.statusOf('far').state).toBe('out');
  });
});

describe('a region that is out of an idle coordinator', () => {
  const others = ['near', 'middle'];

  /** A new life that finds `far` out since so long. */
  function awaiting(outForMs: number): Rig {
    const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
    const now = 1_000_000 + outForMs;
    const far = outOf('far', { since: now - outForMs });
    const rig = new Rig({ now, stored: { epoch: 4, regions: [...regions.slice(0, 2), far] } });
    rig.tick();
    return rig;
  }

  it('alone is probed, with pauses that grow to a minute', () => {
    const rig = awaiting(0);
    rig.run(10 * 60_000, others);
    const counts = roundsTo(rig, () => rig.run(hourMs, others));
    const everyMs = limits.idleProbeBackoffMaxMs + 100;
    expect(Object.keys(counts)).toEqual(['far']);
    expect(counts.far).toBeLessThanOrEqual(Math.ceil(hourMs / everyMs));
    expect(rig.core.busy).toBe(false);
    expect(rig.core.awaitsReturn).toBe(true);
  });

  it('is not probed more often because a new life begins', () => {
    const rig = awaiting(hourMs);
    expect(roundsTo(rig, () => rig.run(3 * limits.idleProbeBackoffMaxMs, others))).toMatchObject({
      far: 3,
    });
  });

  it('is probed within seconds once a client writes', () => {
    const rig = awaiting(hourMs);
    rig.run(2 * limits.idleProbeBackoffMaxMs, others);
    const work = () => {
      rig.arrive(frameOf(['a'], lasting));
      rig.run(limits.outProbeBackoffMaxMs, others);
    };
    expect(roundsTo(rig, work)).toMatchObject({ far: 1 });
  });
});
