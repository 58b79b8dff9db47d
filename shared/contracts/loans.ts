/**
 * The messages between the coordinators of a joint transaction, as types. Each is named by the full name of the
 * transaction at its home, and may come twice, late, or never.
 */
import type { RegionId, ShardId, TransactionName, TransactionOrder } from '../ids.ts';
import type { UnavailableCode } from './coordinator.ts';
import type { JointRoundReply } from './joint.ts';
import type { BlockedKey } from './members.ts';
import type { Round } from './round.ts';
import type { Share } from './share.ts';

/** Home asks a guest for some of its keys. */
export interface LoanRequest {
  readonly name: TransactionName;
  readonly keys: readonly string[];
  /** Home's voters: the guest's have to be the same. */
  readonly voters: readonly RegionId[];
  readonly priority: number;
  /** How long the request may wait for its keys, ms; null: they are lent at once, or not at all. */
  readonly waitMs: number | null;
}

/** A loan as home gets it: the guest's share, and a round of the guest for each voter. */
export interface GrantedLoan {
  readonly kind: 'lent';
  readonly transaction: TransactionOrder;
  readonly rounds: Readonly<Record<RegionId, Round>>;
  /** The guest's clock, ms. */
  readonly now: number;
  /** The sequence of the guest's last change. */
  readonly sequence: number;
}

/** The guest's answer to a request for a loan. */
export type LoanReply =
  | GrantedLoan
  /** A key is locked or awaited, or did not become free in time. */
  | { readonly kind: 'held' }
  /** It does not own one of the keys. */
  | { readonly kind: 'moved' }
  /** It takes no write on these keys: they are blocked, or it has too few voters. */
  | { readonly kind: 'refused'; readonly code: UnavailableCode; readonly reason: string }
  /** Its voters are not those of home. */
  | { readonly kind: 'members-differ'; readonly voters: readonly RegionId[] }
  /** It cannot lend for the moment. */
  | { readonly kind: 'not-now'; readonly reason: string };

/** The parts of a joint commit that home sends to its guests. */
export interface JointCommit {
  /** All shares, home's first. */
  readonly shares: readonly Share[];
  /** The sequence of home's decision. */
  readonly sequence: number;
}

/** The outcome of a joint transaction. */
export type JointOutcome =
  | ({ readonly kind: 'commit' } & JointCommit)
  /** Nothing is applied: it was given up, or a check failed. */
  | { readonly kind: 'abort' };

/** Home sends a guest the outcome. It is acknowledged by, or after, a storage write. */
export interface Conclusion {
  readonly name: TransactionName;
  /** The order of the loan. Null, of an abort: home does not know of a loan, but there may be one. */
  readonly transaction: TransactionOrder | null;
  readonly outcome: JointOutcome;
  /** The replies to the guest's lent rounds. A round that is not listed counts as one without an answer. */
  readonly replies: Readonly<Record<RegionId, JointRoundReply>>;
  /** The clock that home has stored, ms: the guest's is not behind it from now on. */
  readonly now: number;
  /** The regions that disagreed with the majority: the guest evicts them too. */
  readonly minority: readonly RegionId[];
  /** The keys about which the regions disagreed without a majority: the guest blocks its own. */
  readonly blocked: readonly BlockedKey[];
}

/** A guest asks about a loan whose conclusion has not come. */
export interface LoanQuestion {
  readonly name: TransactionName;
  readonly transaction: TransactionOrder;
  /** Home aborts the transaction if it is undecided. */
  readonly ends: boolean;
  /** Home aborts the transaction if it is undecided and its priority is lower; null asks for nothing. */
  readonly preempts: number | null;
}

/** Home's word on a loan. It follows a storage write (rule R17). */
export type LoanWord =
  | { readonly kind: 'concluded'; readonly outcome: JointOutcome; readonly now: number }
  /** The transaction is undecided, and this is the loan that it was given, or may yet be given. */
  | { readonly kind: 'pending' }
  /** The transaction belongs to a storage that is gone: only an operator knows its outcome. */
  | { readonly kind: 'unknown' };

/** A request from one coordinator to another. */
export type LoanCall =
  | { readonly kind: 'join'; readonly request: LoanRequest }
  | { readonly kind: 'conclude'; readonly conclusion: Conclusion }
  | { readonly kind: 'ask'; readonly question: LoanQuestion };

/** The answer to a request between coordinators. */
export type LoanAnswer =
  | { readonly kind: 'join'; readonly reply: LoanReply }
  | { readonly kind: 'conclude' }
  | { readonly kind: 'ask'; readonly word: LoanWord };

/** A coordinator as its peers see it. */
export interface LoanPeer {
  /** Calls the coordinator once; null: no answer came in time. `from` is the caller's shard. */
  loan(from: ShardId, call: LoanCall, timeoutMs: number): Promise<LoanAnswer | null>;
}
