import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, type RigOptions } from './core-harness.ts';
import { clockAheadMs } from './replies.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;

/** A greeted rig in which no lease is left that an earlier life could have granted. */
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(leaseMs);
  return rig;
}

/** The rounds that grant a lease, of those that `rig` has sent. */
function renewals(rig: Rig): readonly SentRound[] {
  return rig.rounds.filter(({ round }) => round.lease !== null && round.lease.reading !== null);
}

/** The rounds that ask for a lease, or for the reading that one needs. */
function leasesOrdered(rig: Rig): readonly SentRound[] {
  return rig.rounds.filter(({ round }) => round.lease !== null);
}

// R30: clocks need not agree, and a stale instance must not renew.
describe('a lease', () => {
  it('is asked of nobody where nobody reads', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    rig.settle();
    rig.run(60_000);
    expect(leasesOrdered(rig)).toEqual([]);
    expect(rig.core.busy).toBe(false);
  });

  it('is asked for at once where somebody reads, and granted with the next round on what was read', () => {
    const rig = calm();
    rig.want('far');
    expect(rig.flight('far').round.lease).toEqual({ reading: null, ttlMs: limits.leaseTtlMs });
    rig.advance(80);
    const reading = rig.now + clockAheadMs;
    rig.execute(rig.flight('far'));
    expect(rig.flight('far').round.lease).toEqual({ reading, ttlMs: limits.leaseTtlMs });
    expect(rig.statusOf('far').leaseMs).toBe(leaseMs);
    expect(rig.statusOf('near').leaseMs).toBe(0);
  });

  it('is over so long after the reading came, however late the renewal was answered', () => {
    const rig = calm();
    rig.want('far');
    rig.execute(rig.flight('far'));
    const late = rig.flight('far');
    rig.run(1_000, others, [late]);
    rig.execute(late);
    expect(rig.statusOf('far').leaseMs).toBe(leaseMs - 1_000);
  });

  it('is renewed by steps that store something, each of them', () => {
    const rig = calm();
    rig.want(...rig.regions);
    rig.run(limits.leaseWantedMinMs);
    const steps = rig.steps.filter(({ sends }) =>
      sends.some((send) => send.kind === 'round' && (send.round.lease?.reading ?? null) !== null),
    );
    expect(steps.length).toBeGreaterThan(5);
    for (const { persist } of steps) expect(persist).not.toEqual([]);
  });

  it('needs no storage write for a reading alone', () => {
    const rig = calm();
    rig.want('far');
    expect(rig.last.persist).toEqual([]);
  });

  it('rides with rounds that go anyway, and then needs none of its own', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    for (let write = 0; write < 20; write++) {
      rig.arrive(frameOf(['a'], lasting));
      rig.run(400);
      if (write % 5 === 0) rig.want('far');
    }
    const own = leasesOrdered(rig)
      .slice(2)
      .filter(({ round }) => round.prepares.length + round.decisions.length === 0);
    expect(own).toEqual([]);
    expect(renewals(rig).length).toBeGreaterThan(5);
  });

  it('holds without a gap while somebody reads', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    for (let waited = 0; waited < 30_000; waited += 50) {
      rig.run(50);
      if (waited % (limits.leaseWantedMinMs / 2) === 0) rig.want('far');
      expect(rig.statusOf('far').leaseMs).toBeGreaterThan(limits.leaseDriftMs);
    }
  });

  it('ceases when nobody has read for so long, and then nothing is sent', () => {
    const rig = calm();
    rig.want('far');
    rig.run(limits.leaseWantedMinMs + leaseMs);
    const before = rig.rounds.length;
    rig.run(60_000);
    expect(rig.rounds).toHaveLength(before);
    expect(rig.core.busy).toBe(false);
    rig.tick();
    expect(rig.statusOf('far').leaseMs).toBe(0);
  });

  it('is not renewed for a voter that is to leave, nor for one that does not answer', () => {
    const rig = calm();
    rig.want(...rig.regions);
    rig.run(100);
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.arrive(frameOf(['a'], lasting));
    for (const send of rig.flightsTo('middle')) rig.silence(send);
    const before = rig.rounds.length;
    rig.run(limits.leaseRenewMs, ['near', 'far']);
    const ordered = rig.rounds.slice(before).filter(({ round }) => round.lease !== null);
    expect(new Set(ordered.map(({ region }) => region))).toEqual(new Set(['near']));
  });

  it('is not granted with a probe', () => {
    const rig = calm();
    rig.want(...rig.regions);
    rig.arrive(frameOf(['a'], lasting));
    rig.run(1_000, others);
    const probes = rig.rounds.filter(({ region }) => region === 'far').slice(-2);
    expect(probes.map(({ round }) => round.lease)).toEqual([null, null]);
  });

  it('is dropped with the vote: a region that returns begins with a reading', () => {
    const rig = calm();
    rig.want('far');
    rig.run(100);
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.run(leaseMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', leaseMs: 0 });
    rig.order({ kind: 'return', region: 'far', whole: false, force: false });
    rig.want('far');
    const before = rig.rounds.length;
    rig.run(limits.copyPauseMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const leases = rig.rounds
      .slice(before)
      .flatMap(({ region, round }) =>
        region === 'far' && round.lease !== null ? [[round.role, round.lease.reading]] : [],
      );
    expect(leases[0]).toEqual(['voter', null]);
    expect(leases[1]).toEqual(['voter', expect.any(Number)]);
  });

  it('of an earlier life counts as granted when the first answer of this one comes', () => {
    const rig = new Rig();
    rig.tick();
    rig.advance(300);
    expect(rig.statusOf('near').leaseMs).toBe(0);
    rig.executeAll(['far']);
    expect(rig.core.status().regions.map((region) => region.leaseMs)).toEqual([
      leaseMs,
      leaseMs,
      leaseMs,
    ]);
  });

  it('of an earlier life counts so also where the first answer is none', () => {
    const rig = new Rig();
    rig.tick();
    rig.advance(300);
    rig.silence(rig.flight('far'));
    expect(rig.statusOf('near').leaseMs).toBe(leaseMs);
  });
});
