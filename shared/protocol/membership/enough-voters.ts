import type { RegionFault } from '../../contracts/coordinator.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import { outOfMemory } from '../regions/server-refusals.ts';

/** Judges whether enough voters are left to take in a write (rules R31 and R38). */

/** Why no write can be taken in by these regions, or null. */
export function refusalBy(links: RegionLinks, minVoters: number): WriteRefusal | null {
  const { voters } = links;
  const faults = links.all
    .filter((link) => !link.isVoter || link.isQuarantined)
    .map(({ region, leaving }) => ({ region, reason: leaving?.detail ?? '' }));
  if (voters.length > 0 && voters.every((link) => link.isQuarantined)) {
    const reason = 'every region that votes has lost writes: an operator must name the correct one';
    return { code: 'lost', faults, reason };
  }
  if (voters.length >= minVoters) return null;
  const reason = `${voters.length} of at least ${minVoters} regions can vote`;
  return { code: 'too-few-voters', faults, reason };
}

/**
 * The voters that are out of memory, if too few would be left without them: then they stay, since commands that free
 * memory go through everywhere, and those that take some are refused. Empty if others can go on without them.
 */
export function fullRegionsOf(links: RegionLinks, minVoters: number): readonly RegionFault[] {
  const others = links.voters.filter(
    (link) => !link.isQuarantined && link.leaving === null && link.refusals.inRow === null,
  );
  if (others.length >= Math.max(1, minVoters)) return [];
  return links.voters.flatMap(({ region, refusals: { inRow } }) =>
    inRow?.code === outOfMemory ? [{ region, reason: inRow.reason }] : [],
  );
}
