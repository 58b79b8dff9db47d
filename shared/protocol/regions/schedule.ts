import { limits } from '../../limits.ts';
import type { RegionLink } from './region-link.ts';

/** The next request that leaves: a round to a region, or the snapshot of the read that has waited longest. */
export type Turn =
  | {
      readonly kind: 'round';
      readonly link: RegionLink;
      /** True for a round that takes a step of a copy, and therefore no prepares. */
      readonly copies: boolean;
    }
  | { readonly kind: 'snapshot' };

/**
 * A request that waits for a connection, and since when, ms. Among those that have not waited long, lower ranks go
 * first.
 */
interface Candidate {
  readonly turn: Turn;
  readonly since: number;
  readonly rank: 0 | 1 | 2;
  /** Orders prepares: the sequence of the oldest. 0 for all others. */
  readonly age: number;
  readonly distanceMs: number;
}

/**
 * The request that gets the next of `free` connections, or null if none may leave now. `readSince` is when the oldest
 * read came that waits for a snapshot, ms; null if none may be taken.
 *
 * A request that has waited for `fairAfterMs` goes first, of any kind, in the order in which they began to wait, so no
 * kind of request can keep another from ever leaving. Before that, prepares go first, the oldest first; if several
 * regions wait equally long, the farthest goes first, since its answer takes longest: with one connection more than
 * regions, a write that begins while the commits of the last one are on their way is still answered after one round
 * trip to the farthest region. Steps of a copy come last.
 *
 * `gapMs` is the time between the last two transactions, ms. A commit leaves alone, at once, only if connections are
 * plenty and the next prepare is not likely to come while it may wait for one: a round that is shared costs each region
 * one request and one script instead of two.
 */
export function nextTurn(
  links: readonly RegionLink[],
  readSince: number | null,
  free: number,
  now: number,
  gapMs: number,
): Turn | null {
  if (free <= 0) return null;
  // After every request that could leave now, a prepare to every region still finds a connection.
  const hasRoom = free >= links.length + links.filter((link) => link.hasUnsent).length;
  const leavesAlone = hasRoom && gapMs >= limits.commitLingerMs;
  const probes = links.filter((link) => link.flights.hasProbe).length;
  const candidates = links
    .filter((link) => mayLeave(link, free, probes, now))
    .flatMap((link) => candidatesOf(link, leavesAlone, now));
  if (readSince !== null) {
    const turn = { kind: 'snapshot' } as const;
    candidates.push({ turn, since: readSince, rank: 1, age: 0, distanceMs: 0 });
  }
  const ordered = candidates.sort((a, b) => compareCandidates(a, b, now));
  return ordered[0]?.turn ?? null;
}

/**
 * Rounds to a region that answers in time leave evenly spaced: with few of them, each write waits for the next one only
 * a part of a round trip. A region that hangs must not hold the connections of the others: silent regions share a few,
 * and the last connection goes to no late region that has its share already.
 */
function mayLeave(link: RegionLink, free: number, probes: number, now: number): boolean {
  if (link.isQuarantined) return false;
  if (link.health.kind !== 'answering')
    return !link.flights.hasProbe && probes < limits.probesInFlight;
  const { size } = link.flights;
  if (size >= limits.roundsInFlightPerRegion) return false;
  return link.isLate(now) ? free >= size : now >= link.spacedUntil;
}

function candidatesOf(link: RegionLink, leavesAlone: boolean, now: number): readonly Candidate[] {
  const distanceMs = link.roundTripMs ?? Number.MAX_SAFE_INTEGER;
  const round = { kind: 'round', link, copies: false } as const;
  const waiting = { turn: round, age: 0, distanceMs };
  if (link.health.kind !== 'answering') {
    const { probeAt } = link.health;
    return now >= probeAt ? [{ ...waiting, since: probeAt, rank: 1 }] : [];
  }
  const candidates: Candidate[] = [];
  if (link.mustReportContents && link.flights.size === 0) {
    candidates.push({ ...waiting, since: now, rank: 1 });
  }
  const prepare = link.oldestPrepare;
  if (prepare !== null) {
    // All waiting prepares are of this incarnation, so the sequence is their age.
    const [, age] = prepare.order;
    candidates.push({ ...waiting, since: prepare.now, rank: 0, age });
  }
  if (link.hasUnsent && (leavesAlone || now >= link.lingerUntil)) {
    candidates.push({ ...waiting, since: link.lingerUntil, rank: 1 });
  }
  const leaseDueAt = link.renewsLease ? link.lease.dueAt(now) : Number.POSITIVE_INFINITY;
  if (now >= leaseDueAt) candidates.push({ ...waiting, since: leaseDueAt, rank: 1 });
  if (link.copySince !== null) {
    const turn = { ...round, copies: true };
    candidates.push({ ...waiting, turn, since: link.copySince, rank: 2 });
  }
  return candidates;
}

/** Negative if `a` goes before `b`. */
function compareCandidates(a: Candidate, b: Candidate, now: number): number {
  const isOverdue = ({ since }: Candidate) => now - since >= limits.fairAfterMs;
  if (isOverdue(a) !== isOverdue(b)) return isOverdue(a) ? -1 : 1;
  const farther = b.distanceMs - a.distanceMs;
  if (isOverdue(a)) return a.since - b.since || farther;
  const earlier = a.rank === 0 ? a.age - b.age : a.since - b.since;
  return a.rank - b.rank || earlier || farther;
}
