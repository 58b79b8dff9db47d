import type { VoteState } from './transaction-states.ts';

/** Where the votes of one transaction stand: all voters must say yes. */
export type Tally = 'pending' | 'won' | 'lost';

/** One no, or one vote that cannot come, loses; anything still out leaves it pending. */
export function tallyOf(votes: Iterable<VoteState>): Tally {
  let tally: Tally = 'won';
  for (const vote of votes) {
    if (vote === 'no' || vote === 'missing') return 'lost';
    if (vote === 'waiting') tally = 'pending';
  }
  return tally;
}
