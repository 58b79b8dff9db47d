import type { CopyProgress, RegionStatus } from '../../contracts/members.ts';
import type { RegionLink } from './region-link.ts';

/** A region as its coordinator sees it at `now`, ms. */
export function statusOf(link: RegionLink, copy: CopyProgress | null, now: number): RegionStatus {
  const { region, membership, health, leaving } = link;
  const { inRow } = link.refusals;
  const isLost = leaving?.cause === 'lost';
  const refusal = inRow === null ? null : `its server refuses: ${inRow.reason}`;
  const leaseMs = Math.max(0, link.lease.endsAt - now);
  return {
    region,
    state: membership.state,
    cause: leaving?.cause ?? null,
    held: leaving?.manualReturn ?? false,
    since: membership.since,
    health: isLost ? 'lost' : healthOf(link),
    circuit: circuitOf(link),
    detail: leaving?.detail ?? (health.kind === 'answering' ? refusal : health.reason),
    generation: link.generation,
    // The leases of a former instance are not known before a region has answered this one.
    leaseMs: Number.isFinite(leaseMs) ? leaseMs : 0,
    roundTripMs: link.roundTripMs,
    roundsInFlight: link.flights.size,
    unacknowledged: link.unacknowledged.count,
    oldestUnacknowledgedMs: link.unacknowledged.ageMs(now),
    missedKeys: leaving?.whole === true ? null : link.missed.size,
    copy,
  };
}

function healthOf({ health, refusals }: RegionLink): RegionStatus['health'] {
  return health.kind === 'answering' && refusals.inRow !== null ? 'refusing' : health.kind;
}

function circuitOf(link: RegionLink): RegionStatus['circuit'] {
  if (link.health.kind === 'answering' && !link.isQuarantined) return 'closed';
  return link.flights.hasProbe ? 'half-open' : 'open';
}
