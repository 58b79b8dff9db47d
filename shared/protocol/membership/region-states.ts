import { assert } from '../../assert.ts';
import type { Membership } from '../io/stored.ts';

/**
 * The states of a region among the members of a shard, and the transitions that each event allows. Every assignment of
 * a membership is asserted against this table, and PROTOCOL.md shows it. It decides nothing: `members.ts`, `rejoin.ts`,
 * `founding.ts` and the commands of operators decide which event happens.
 */

/** The state of a region in its shard. `Membership` holds the data of each state. */
export type RegionState =
  /** No region of this shard. */
  | 'absent'
  /** It votes, and stays. */
  | 'voter'
  /** It votes until it is evicted; its votes count. */
  | 'leaving'
  /** It votes until it is evicted, with data that are not trusted: its votes are ignored. */
  | 'quarantined'
  /** It has no vote, and is copied as soon as it can be reached. */
  | 'out'
  /** It has no vote, and returns only at an operator's command. */
  | 'excluded'
  /** It has no vote, and is being copied. */
  | 'copying';

/** An event that changes the membership of a region. */
export type RegionEvent =
  /** A region joins the shard, or a shard that has not begun. */
  | 'added'
  /** The shard begins with this region as a voter (R45). */
  | 'founded'
  /**
   * It failed, lost writes, diverged or was sent away: it is about to lose its vote, or to come back in another way
   * (R31).
   */
  | 'suspected'
  /** An operator lets it return. */
  | 'recalled'
  /** An operator keeps it out. */
  | 'kept-out'
  /** It loses its vote (R32). */
  | 'evicted'
  /** It was found with the state of another coordinator (R45). */
  | 'found-foreign'
  /** Its copy begins (R34). */
  | 'copy-begun'
  /** Its copy was given up. */
  | 'copy-failed'
  /** A new instance found its copy under way (R34). */
  | 'copy-interrupted'
  /** It has been copied, and votes again (R37). */
  | 'returned'
  /** One region alone is right from now on: every region, this one or another, loses its vote (R38). */
  | 'overruled'
  /** It is not configured any more. */
  | 'removed'
  /** No lease of it is left, so the shard forgets it. */
  | 'forgotten';

const nothing = {
  added: [],
  founded: [],
  suspected: [],
  recalled: [],
  'kept-out': [],
  evicted: [],
  'found-foreign': [],
  'copy-begun': [],
  'copy-failed': [],
  'copy-interrupted': [],
  returned: [],
  overruled: [],
  removed: [],
  forgotten: [],
} as const satisfies Record<RegionEvent, readonly RegionState[]>;

/** The states that each event may lead to from each state; none: the event must not happen in that state. */
export const regionTransitions: Record<RegionState, Record<RegionEvent, readonly RegionState[]>> = {
  absent: { ...nothing, added: ['out', 'excluded'] },
  voter: {
    ...nothing,
    suspected: ['leaving', 'quarantined'],
    evicted: ['out', 'excluded'],
    overruled: ['out'],
  },
  leaving: {
    ...nothing,
    suspected: ['leaving', 'quarantined'],
    recalled: ['voter', 'leaving'],
    evicted: ['out', 'excluded'],
    overruled: ['out'],
  },
  quarantined: {
    ...nothing,
    suspected: ['quarantined'],
    recalled: ['quarantined'],
    evicted: ['out', 'excluded'],
    overruled: ['out'],
  },
  out: {
    ...nothing,
    suspected: ['out', 'excluded'],
    recalled: ['out'],
    'kept-out': ['excluded'],
    'found-foreign': ['excluded'],
    'copy-begun': ['copying'],
    overruled: ['out'],
    removed: ['excluded'],
  },
  excluded: {
    ...nothing,
    founded: ['voter'],
    suspected: ['excluded'],
    recalled: ['out'],
    'kept-out': ['excluded'],
    'found-foreign': ['excluded'],
    overruled: ['out'],
    removed: ['excluded'],
    forgotten: ['absent'],
  },
  copying: {
    ...nothing,
    'copy-failed': ['out', 'excluded'],
    'copy-interrupted': ['out'],
    returned: ['voter'],
    overruled: ['out'],
    removed: ['excluded'],
  },
};

/** The state of a membership; null: the region is none of the shard's. */
export function regionStateOf(membership: Membership | null): RegionState {
  if (membership === null) return 'absent';
  switch (membership.state) {
    case 'voter':
      if (membership.leaving === null) return 'voter';
      return membership.leaving.whole ? 'quarantined' : 'leaving';
    case 'out':
      return membership.manualReturn ? 'excluded' : 'out';
    case 'copying':
      return 'copying';
  }
}

/** Asserts that `event` may make `to` of `from`; null: the region is none of the shard's. */
export function assertTransition(
  event: RegionEvent,
  from: Membership | null,
  to: Membership | null,
): void {
  const [before, after] = [regionStateOf(from), regionStateOf(to)];
  assert(
    regionTransitions[before][event].includes(after),
    `a region that is ${before} may not become ${after} when it is ${event}`,
  );
}
