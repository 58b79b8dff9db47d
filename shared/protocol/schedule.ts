import type { TransactionOrder } from '../ids.ts';
import { limits } from '../limits.ts';
import type { RegionLink } from './region-link.ts';

/** How soon a link should get the next free connection; lower goes first. */
type Urgency = readonly [rank: 0 | 1 | 2, age: number, negativeRoundTripMs: number];

/**
 * The link that gets the next of `free` connections, or null where none may be used now.
 *
 * Prepares go before decisions that travel alone, the oldest first; where several regions wait equally long, the
 * farthest goes first, since its answer takes longest: with one connection more than regions, a write that begins
 * while the commits of the last one are on their way is still answered after one round trip to the farthest region.
 * Steps of a copy come last.
 */
export function nextLink(
  links: readonly RegionLink[],
  free: number,
  now: number,
): RegionLink | null {
  if (free <= 0) return null;
  // Plenty: after all that could leave now, a prepare to every region still finds a connection.
  const plenty = free >= links.length + links.filter((link) => link.hasUnsaid).length;
  let best: { readonly link: RegionLink; readonly urgency: Urgency } | null = null;
  for (const link of links) {
    const urgency = urgencyOf(link, plenty, now);
    if (urgency !== null && (best === null || before(urgency, best.urgency)))
      best = { link, urgency };
  }
  return best?.link ?? null;
}

function urgencyOf(link: RegionLink, plenty: boolean, now: number): Urgency | null {
  const distance = -(link.roundTripMs ?? Number.MAX_SAFE_INTEGER);
  if (link.isMute) return null;
  if (link.health.kind !== 'answering') {
    return now >= link.health.probeAt && !link.probing ? [1, link.health.probeAt, distance] : null;
  }
  if (link.flightCount >= limits.roundsInFlightPerRegion) return null;
  if (link.oldestPrepare !== null) return [0, ageOf(link.oldestPrepare), distance];
  if (link.hasUnsaid && (plenty || now >= link.lingerUntil)) return [1, link.lingerUntil, distance];
  if (link.isLeased && now >= link.lease.dueAt(now)) return [1, now, distance];
  return link.copyStep === null ? null : [2, 0, distance];
}

/** All waiting prepares are of this incarnation, so the sequence is their age. */
function ageOf([, sequence]: TransactionOrder): number {
  return sequence;
}

function before(a: Urgency, b: Urgency): boolean {
  return (a[0] - b[0] || a[1] - b[1] || a[2] - b[2]) < 0;
}
