import { assert } from '../../assert.ts';

/**
 * The states of a loan at its guest, and of a guest at home, with the transitions that each event allows. Every assignment
 * of either is asserted against these tables.
 */

/** The state of a loan at the guest. */
export type LoanState =
  /** The request waits for its keys; nothing is stored. */
  | 'waiting'
  /** The keys are lent, which is stored. Nobody but home ends it (R58). */
  | 'lent'
  /** Home has committed: the decision is stored, and the keys are free. */
  | 'committed'
  /** Home has not committed: the keys are free. */
  | 'aborted'
  /** It was never lent. */
  | 'refused';

/** An event in the life of a loan. */
export type LoanEvent = 'grant' | 'refuse' | 'commit' | 'abort';

const loanOver = { grant: [], refuse: [], commit: [], abort: [] } as const;

/** The states that each event may lead to from each state. */
export const loanTransitions: Record<LoanState, Record<LoanEvent, readonly LoanState[]>> = {
  waiting: { ...loanOver, grant: ['lent'], refuse: ['refused'] },
  lent: { ...loanOver, commit: ['committed'], abort: ['aborted'] },
  committed: loanOver,
  aborted: loanOver,
  refused: loanOver,
};

/** The state of one shard in a joint transaction, as home sees it. */
export type GuestState =
  /** It has not been asked. */
  | 'unasked'
  /** It has been asked, and may have lent. */
  | 'asked'
  /** It has lent its keys. */
  | 'lent'
  /** It has answered that it does not lend. */
  | 'refused';

/** The states that may follow each state. */
export const guestTransitions: Record<GuestState, readonly GuestState[]> = {
  unasked: ['asked'],
  asked: ['lent', 'refused'],
  lent: [],
  refused: [],
};

/** The phase of a joint transaction at home, until it is decided. */
export type JointPhase =
  /** Home asks for the loans. */
  | 'joining'
  /** All keys are held: the regions are asked to vote. */
  | 'voting';

/** The phases that may follow each phase. */
export const jointTransitions: Record<JointPhase, readonly JointPhase[]> = {
  joining: ['voting'],
  voting: [],
};

/** Asserts that a loan may go from one state to the other by `event`. */
export function assertLoanTransition(event: LoanEvent, from: LoanState, to: LoanState): void {
  assert(
    loanTransitions[from][event].includes(to),
    `a loan that is ${from} may not become ${to} by ${event}`,
  );
}

/** Asserts that a guest may go from one state to the other. */
export function assertGuestTransition(from: GuestState, to: GuestState): void {
  assert(guestTransitions[from].includes(to), `a guest that is ${from} may not become ${to}`);
}

/** Asserts that a joint transaction may go from one phase to the other. */
export function assertJointTransition(from: JointPhase, to: JointPhase): void {
  assert(
    jointTransitions[from].includes(to),
    `a joint transaction that is ${from} may not be ${to}`,
  );
}
