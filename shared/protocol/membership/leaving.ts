/** Reasons for which a region leaves, and how two of them add up. */

import type { Leaving } from '../io/stored.ts';

/**
 * A second reason added to the first: the stricter of both counts. Returns `known` itself if the second adds nothing.
 */
export function bothOf(known: Leaving, added: Leaving): Leaving {
  const adds = (added.whole && !known.whole) || (added.manualReturn && !known.manualReturn);
  const isGoingForGood = added.cause === 'removed' && known.cause !== 'removed';
  if (!adds && !isGoingForGood) return known;
  const { cause, detail } = known.cause === 'removed' ? known : added;
  return {
    cause,
    detail,
    whole: known.whole || added.whole,
    manualReturn: known.manualReturn || added.manualReturn,
  };
}

/** The reason of a region that is not configured any more. */
export const removal: Leaving = {
  cause: 'removed',
  detail: 'it is not among the configured regions',
  whole: false,
  manualReturn: true,
};
