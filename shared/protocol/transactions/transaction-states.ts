import { assert } from '../../assert.ts';

/**
 * The states of a transaction and of one vote on it, and the transitions that each event allows. Every assignment of
 * either is asserted against these tables. They decide nothing: `transaction-manager.ts` does.
 */

/** The state of a transaction. Only commits and rejections are stored (R3). */
export type TransactionState =
  /** It holds its keys, and waits for votes. */
  | 'undecided'
  /** All voters said yes and agreed, and at least one part is applied. */
  | 'committed'
  /** All voters said yes and agreed that a check of every part failed: nothing is applied (R6). */
  | 'rejected'
  /** Nothing is applied; its parts wait for another attempt, or are answered. */
  | 'aborted';

/** An event in the life of a transaction. */
export type TransactionEvent =
  /** A vote came, or cannot come any more. */
  | 'vote-counted'
  /** Votes are complete and equal, and some part passed its checks. */
  | 'commit'
  /** Votes are complete and equal, and no part passed its checks. */
  | 'reject'
  /** A vote is no or missing, the votes differ, the members change, or a frame of higher priority needs a key. */
  | 'abort';

const over = { 'vote-counted': [], commit: [], reject: [], abort: [] } as const;

/** The states that each event may lead to from each state; none: the event must not happen in that state. */
export const transactionTransitions: Record<
  TransactionState,
  Record<TransactionEvent, readonly TransactionState[]>
> = {
  undecided: {
    'vote-counted': ['undecided'],
    commit: ['committed'],
    reject: ['rejected'],
    abort: ['aborted'],
  },
  committed: over,
  rejected: over,
  aborted: over,
};

/** The state of one voter's vote. `missing` is a vote that will not come any more. */
export type VoteState = 'waiting' | 'yes' | 'no' | 'missing';

/** The transitions of a vote: it is counted once (R4). */
export const voteTransitions: Record<VoteState, readonly VoteState[]> = {
  waiting: ['yes', 'no', 'missing'],
  yes: [],
  no: [],
  missing: [],
};

/** Asserts that a transaction may go from one state to the other by `event`. */
export function assertTransactionTransition(
  event: TransactionEvent,
  from: TransactionState,
  to: TransactionState,
): void {
  assert(
    transactionTransitions[from][event].includes(to),
    `a transaction that is ${from} may not become ${to} by ${event}`,
  );
}

/** Asserts that a vote may go from one state to the other. */
export function assertVoteTransition(from: VoteState, to: VoteState): void {
  assert(voteTransitions[from].includes(to), `a vote that is ${from} may not become ${to}`);
}
