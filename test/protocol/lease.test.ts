import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Lease } from '../../shared/protocol/regions/lease.ts';

const {
  leaseTtlMs: ttlMs,
  leaseDriftMs,
  leaseRenewMs,
  leaseRideMs,
  leaseReadersMinMs: leaseWantedMs,
} = limits;
const never = Number.NEGATIVE_INFINITY;
const clock = 900_000;

/** A lease that is wanted, with a reading of `clock` whose answer came at 0. */
function read(): Lease {
  const lease = new Lease(never);
  lease.noteReaders(0, leaseWantedMs);
  lease.requestFor(0);
  lease.roundEnded(clock, 0);
  return lease;
}

// R30: a delayed renewal cannot reach beyond the reading that it answers.
describe('a lease', () => {
  it('starts with a request for a clock reading, which grants nothing', () => {
    const lease = new Lease(never);
    lease.noteReaders(0, leaseWantedMs);
    expect(lease.requestFor(0)).toEqual({ reading: null, ttlMs });
    expect(lease.endsAt).toBe(never);
  });

  it('is granted on the clock reading as soon as that has come', () => {
    const lease = read();
    expect(lease.dueAt(0)).toBe(0);
    expect(lease.requestFor(0)).toEqual({ reading: clock, ttlMs });
  });

  it('ends for the coordinator by the arrival of the reading, not by the departure of the renewal', () => {
    const lease = read();
    lease.requestFor(700);
    expect(lease.endsAt).toBe(ttlMs + leaseDriftMs);
  });

  it('never ends before one that was granted earlier on a later reading', () => {
    const lease = read();
    lease.requestFor(0);
    lease.roundEnded(clock + 1_000, 1_000);
    lease.requestFor(1_000);
    expect(lease.endsAt).toBe(1_000 + ttlMs + leaseDriftMs);
    lease.roundEnded(null, 1_100);
    lease.requestFor(leaseRenewMs + 1_000);
    expect(lease.endsAt).toBe(1_000 + ttlMs + leaseDriftMs);
  });

  it('is not renewed on a reading that is half as old as the lease is long: a new one is asked for', () => {
    const lease = read();
    lease.noteReaders(ttlMs, leaseWantedMs);
    expect(lease.requestFor(ttlMs / 2)).toEqual({ reading: clock, ttlMs });
    lease.roundEnded(null, ttlMs / 2);
    expect(lease.requestFor(ttlMs / 2 + leaseRideMs)).toEqual({ reading: null, ttlMs });
    expect(lease.endsAt).toBe(ttlMs + leaseDriftMs);
  });

  it('rides with a round that is sent anyway, no more often than it needs', () => {
    const lease = read();
    lease.requestFor(0);
    lease.roundEnded(clock, 0);
    expect(lease.requestFor(leaseRideMs - 1)).toBeNull();
    expect(lease.requestFor(leaseRideMs)).not.toBeNull();
  });

  it('gets a round of its own if none is sent anyway', () => {
    const lease = read();
    lease.requestFor(0);
    lease.roundEnded(clock, 0);
    expect(lease.dueAt(0)).toBe(leaseRenewMs);
  });

  it('is due at once if it is short and a reading waits, but not twice on the same reading', () => {
    const lease = read();
    expect(lease.dueAt(0)).toBe(0);
    lease.requestFor(0);
    expect(lease.dueAt(1)).toBe(leaseRenewMs);
  });

  it('is neither due nor granted once no client has requested it for long enough', () => {
    const lease = read();
    expect(lease.hasReaders(leaseWantedMs - 1)).toBe(true);
    expect(lease.hasReaders(leaseWantedMs)).toBe(false);
    expect(lease.dueAt(leaseWantedMs)).toBe(Number.POSITIVE_INFINITY);
    expect(lease.requestFor(leaseWantedMs)).toBeNull();
  });

  it('that an earlier instance may have granted has no known end before the first answer', () => {
    const lease = new Lease(Number.POSITIVE_INFINITY);
    expect(lease.endsAt).toBe(Number.POSITIVE_INFINITY);
    lease.begin(500);
    expect(lease.endsAt).toBe(500 + ttlMs + leaseDriftMs);
    lease.begin(900);
    expect(lease.endsAt).toBe(500 + ttlMs + leaseDriftMs);
  });

  it('is none if it was dropped, and begins with a reading again', () => {
    const lease = read();
    lease.requestFor(0);
    lease.drop();
    expect(lease.endsAt).toBe(never);
    expect(lease.dueAt(1)).toBe(0);
    expect(lease.requestFor(1)).toEqual({ reading: null, ttlMs });
  });
});
