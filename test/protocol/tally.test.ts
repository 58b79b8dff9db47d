import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Tally, tallyOf } from '../../shared/protocol/transactions/tally.ts';
import type { VoteState } from '../../shared/protocol/transactions/transaction-states.ts';

// R4: all voters say yes, or it aborts.
describe('the tally', () => {
  const table: readonly (readonly [tally: Tally, votes: readonly VoteState[]])[] = [
    ['won', ['yes', 'yes', 'yes']],
    ['won', ['yes']],
    ['pending', ['yes', 'waiting', 'yes']],
    ['pending', ['waiting', 'waiting', 'waiting']],
    ['lost', ['yes', 'no', 'yes']],
    ['lost', ['yes', 'yes', 'missing']],
    ['lost', ['waiting', 'no', 'waiting']],
    ['lost', ['waiting', 'waiting', 'missing']],
    ['lost', ['no', 'missing', 'yes']],
  ];
  it.each(table)('is %s for %j', (tally, votes) => {
    expect(tallyOf(votes)).toBe(tally);
  });

  const states = fc.constantFrom<VoteState>('waiting', 'yes', 'no', 'missing');
  const votes = fc.array(states, { minLength: 1, maxLength: 16 });

  it('is won only if every vote is a yes', () => {
    fc.assert(
      fc.property(votes, (cast) => {
        expect(tallyOf(cast) === 'won').toBe(cast.every((vote) => vote === 'yes'));
      }),
    );
  });

  it('stays lost regardless of the votes still out', () => {
    fc.assert(
      fc.property(votes, states, (cast, late) => {
        fc.pre(tallyOf(cast) === 'lost');
        expect(tallyOf(cast.map((vote) => (vote === 'waiting' ? late : vote)))).toBe('lost');
      }),
    );
  });

  it('does not depend on the order of the votes', () => {
    fc.assert(
      fc.property(votes, (cast) => {
        expect(tallyOf(cast.toReversed())).toBe(tallyOf(cast));
      }),
    );
  });
});
