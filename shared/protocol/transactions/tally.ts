import type { VoteState } from './transaction-states.ts';

/** The state of the votes on one transaction: all voters must say yes. */
export type Tally = 'pending' | 'won' | 'lost';

/** One no, or one vote that cannot come, loses; if any vote is still out and none has lost, it is pending. */
export function tallyOf(votes: Iterable<VoteState>): Tally {
  let tally: Tally = 'won';
  for (const vote of votes) {
    if (vote === 'no' || vote === 'missing') return 'lost';
    if (vote === 'waiting') tally = 'pending';
  }
  return tally;
}
