import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { CoreHarness, frameOf } from './core-harness.ts';
import { clockAheadMs } from './replies.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;

/** The rounds that grant a lease, of those that `harness` has sent. */
function renewals(harness: CoreHarness): readonly SentRound[] {
  return harness.rounds.filter(({ round }) => round.lease !== null && round.lease.reading !== null);
}

/** The rounds that ask for a lease, or for the reading that one needs. */
function leasesOrdered(harness: CoreHarness): readonly SentRound[] {
  return harness.rounds.filter(({ round }) => round.lease !== null);
}

// R30: clocks need not agree, and a stale instance must not renew.
describe('a lease', () => {
  it('is not requested while no client reads', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    harness.settle();
    harness.run(60_000);
    expect(leasesOrdered(harness)).toEqual([]);
    expect(harness.core.busy).toBe(false);
  });

  it('is requested at once if a client reads, and granted with the next round on that clock reading', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    expect(harness.flight('far').round.lease).toEqual({ reading: null, ttlMs: limits.leaseTtlMs });
    harness.advance(80);
    const reading = harness.now + clockAheadMs;
    harness.execute(harness.flight('far'));
    expect(harness.flight('far').round.lease).toEqual({ reading, ttlMs: limits.leaseTtlMs });
    expect(harness.statusOf('far').leaseMs).toBe(leaseMs);
    expect(harness.statusOf('near').leaseMs).toBe(0);
  });

  it('ends a fixed time after the clock reading came, however late the renewal was answered', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.execute(harness.flight('far'));
    const late = harness.flight('far');
    harness.run(1_000, others, [late]);
    harness.execute(late);
    expect(harness.statusOf('far').leaseMs).toBe(leaseMs - 1_000);
  });

  it('is stored in each step that renews it', () => {
    const harness = CoreHarness.calm();
    harness.requestLease(...harness.regions);
    harness.run(limits.leaseReadersMinMs);
    const steps = harness.steps.filter(({ sends }) =>
      sends.some((send) => send.kind === 'round' && (send.round.lease?.reading ?? null) !== null),
    );
    expect(steps.length).toBeGreaterThan(5);
    for (const { persist } of steps) expect(persist).not.toEqual([]);
  });

  it('needs no storage write for a clock reading alone', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    expect(harness.last.persist).toEqual([]);
  });

  it('rides with rounds that are sent anyway, and then needs none of its own', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    for (let write = 0; write < 20; write++) {
      harness.arrive(frameOf(['a'], lasting));
      harness.run(400);
      if (write % 5 === 0) harness.requestLease('far');
    }
    const own = leasesOrdered(harness)
      .slice(2)
      .filter(({ round }) => round.prepares.length + round.decisions.length === 0);
    expect(own).toEqual([]);
    expect(renewals(harness).length).toBeGreaterThan(5);
  });

  it('has no gap while clients read', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    for (let waited = 0; waited < 30_000; waited += 50) {
      harness.run(50);
      if (waited % (limits.leaseReadersMinMs / 2) === 0) harness.requestLease('far');
      expect(harness.statusOf('far').leaseMs).toBeGreaterThan(limits.leaseDriftMs);
    }
  });

  it('ceases after a time without reads, and then nothing is sent', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(limits.leaseReadersMinMs + leaseMs);
    const before = harness.rounds.length;
    harness.run(60_000);
    expect(harness.rounds).toHaveLength(before);
    expect(harness.core.busy).toBe(false);
    harness.tick();
    expect(harness.statusOf('far').leaseMs).toBe(0);
  });

  it('is not renewed for a voter that is to leave, nor for one that does not answer', () => {
    const harness = CoreHarness.calm();
    harness.requestLease(...harness.regions);
    harness.run(100);
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.arrive(frameOf(['a'], lasting));
    for (const send of harness.flightsTo('middle')) harness.silence(send);
    const before = harness.rounds.length;
    harness.run(limits.leaseRenewMs, ['near', 'far']);
    const ordered = harness.rounds.slice(before).filter(({ round }) => round.lease !== null);
    expect(new Set(ordered.map(({ region }) => region))).toEqual(new Set(['near']));
  });

  it('is not granted with a probe', () => {
    const harness = CoreHarness.calm();
    harness.requestLease(...harness.regions);
    harness.arrive(frameOf(['a'], lasting));
    harness.run(1_000, others);
    const probes = harness.rounds.filter(({ region }) => region === 'far').slice(-2);
    expect(probes.map(({ round }) => round.lease)).toEqual([null, null]);
  });

  it('is dropped with the vote: a region that returns starts with a clock reading', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(100);
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.run(leaseMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', leaseMs: 0 });
    harness.command({ kind: 'return', region: 'far', whole: false, force: false });
    harness.requestLease('far');
    const before = harness.rounds.length;
    harness.run(limits.copyPauseMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const leases = harness.rounds
      .slice(before)
      .flatMap(({ region, round }) =>
        region === 'far' && round.lease !== null ? [[round.role, round.lease.reading]] : [],
      );
    expect(leases[0]).toEqual(['voter', null]);
    expect(leases[1]).toEqual(['voter', expect.any(Number)]);
  });

  it('of an earlier instance counts as granted when the first answer of this one comes', () => {
    const harness = new CoreHarness();
    harness.tick();
    harness.advance(300);
    expect(harness.statusOf('near').leaseMs).toBe(0);
    harness.executeAll(['far']);
    expect(harness.core.status().regions.map((region) => region.leaseMs)).toEqual([
      leaseMs,
      leaseMs,
      leaseMs,
    ]);
  });

  it('of an earlier instance counts as granted also if the first answer is lost', () => {
    const harness = new CoreHarness();
    harness.tick();
    harness.advance(300);
    harness.silence(harness.flight('far'));
    expect(harness.statusOf('near').leaseMs).toBe(leaseMs);
  });
});
