/** The output of a step: the writes to store, the requests to send, and the replies. */

import type {
  ReadAnswer,
  Resolution,
  WriteAnswer,
  WriteRecord,
} from '../../contracts/coordinator.ts';
import type { JointRound } from '../../contracts/joint.ts';
import type { LoanAnswer, LoanCall } from '../../contracts/loans.ts';
import type { AdminCommandAnswer, BlockedKey, MemberChange } from '../../contracts/members.ts';
import type { Round, SnapshotRequest } from '../../contracts/round.ts';
import type { Share } from '../../contracts/share.ts';
import type {
  Callback,
  EndpointId,
  RegionEventType,
  WriteEventBody,
} from '../../contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId, TransactionName, TransactionOrder } from '../../ids.ts';
import type { Ownership } from '../../shards/shard-map.ts';
import type { Ticket } from './events.ts';
import type {
  CommittedWrite,
  DecidedWrite,
  MissedKeys,
  StoredJointCommit,
  StoredLoan,
  StoredRegion,
} from './stored.ts';

/** An event about a write for an endpoint's outbox; the shell makes its text. */
export interface OutboxWriteEvent {
  readonly endpoint: EndpointId;
  /** The same for all attempts, and for all endpoints that get it. */
  readonly id: string;
  readonly type: WriteEventBody['type'];
  /** When it happened, ms since the epoch. */
  readonly at: number;
  readonly write: EventSubject;
  readonly regions?: Readonly<Record<RegionId, number | null>>;
  readonly reason?: string;
  /** The endpoint asks for commands and results. */
  readonly values: boolean;
}

/** An event about a region for an endpoint's outbox. */
export interface OutboxRegionEvent {
  readonly endpoint: EndpointId;
  readonly id: string;
  readonly type: RegionEventType;
  readonly change: MemberChange;
}

/** The fields of a write that its events report. A write that was given up has no transaction. */
export interface EventSubject extends Omit<CommittedWrite, 'record'> {
  readonly record: Pick<WriteRecord, 'id' | 'sequence' | 'part'> & {
    readonly transaction: string | null;
  };
}

/** Something to store. All writes of one `Ready` are one storage transaction. */
export type StorageWrite =
  /** A commit; `writes` holds its rejected parts too. */
  | {
      readonly kind: 'commit';
      readonly transaction: TransactionOrder;
      readonly keys: readonly string[];
      readonly writes: readonly DecidedWrite[];
      /** The sequence of its last committed write. */
      readonly sequence: number;
      /** The clock reading of the transaction. */
      readonly now: number;
      /** These regions are no voters: its keys are missed there, at `sequence`. */
      readonly missedBy: readonly RegionId[];
      /** Of a joint transaction: its shares, kept until every guest has acknowledged (rule R62). */
      readonly joint?: StoredJointCommit;
    }
  /** Keys are lent to a joint transaction of another shard. */
  | { readonly kind: 'lend'; readonly loan: StoredLoan }
  /** Home has committed: the loan is over, and its keys have changed. */
  | {
      readonly kind: 'loan-commit';
      readonly transaction: TransactionOrder;
      readonly name: TransactionName;
      readonly keys: readonly string[];
      readonly otherShares: readonly Share[];
      readonly sequence: number;
      /** The sequence of home's decision. */
      readonly homeSequence: number;
      readonly at: number;
      /** Home's clock, ms. */
      readonly now: number;
      readonly missedBy: readonly RegionId[];
    }
  /** Home has not committed: the loan is over. */
  | { readonly kind: 'loan-abort'; readonly transaction: TransactionOrder; readonly now: number }
  /** A guest has acknowledged a joint commit of this shard. */
  | {
      readonly kind: 'guest-acknowledged';
      readonly transaction: TransactionOrder;
      readonly guest: ShardId;
    }
  /** Every part was rejected: the answers are kept, nothing is applied. */
  | { readonly kind: 'reject'; readonly writes: readonly DecidedWrite[]; readonly now: number }
  /** Events for the outbox, until their couriers have taken them over. */
  | {
      readonly kind: 'queue-events';
      readonly events: readonly OutboxWriteEvent[];
      /** The target of events for callbacks; null if only subscriptions get them. */
      readonly callback: Callback | null;
    }
  /** Every region has acknowledged these commits. */
  | {
      readonly kind: 'confirm';
      readonly transactions: readonly TransactionOrder[];
      readonly now: number;
    }
  | { readonly kind: 'region'; readonly region: StoredRegion }
  /** The region is forgotten, with its missed keys. */
  | { readonly kind: 'forget'; readonly region: RegionId }
  /** The members have changed: the epoch is new, and the entries go to their history and to the change log. */
  | {
      readonly kind: 'members';
      readonly epoch: number;
      /** In order of their sequences; the last one is the newest of the shard. */
      readonly changes: readonly MemberChange[];
    }
  /** These keys have been missed. */
  | { readonly kind: 'missed'; readonly missed: MissedKeys }
  /** These keys are missed no more; null: none is missed any more. */
  | {
      readonly kind: 'copied';
      readonly region: RegionId;
      readonly keys: readonly string[] | null;
    }
  /** These keys take no writes until an operator has named a source. */
  | { readonly kind: 'block'; readonly keys: readonly BlockedKey[] }
  | { readonly kind: 'unblock'; readonly keys: readonly string[] }
  /** Events about regions for the outbox. */
  | { readonly kind: 'queue-region-events'; readonly events: readonly OutboxRegionEvent[] }
  /** The shard owns these slots from now on (rule R49). */
  | { readonly kind: 'own'; readonly ownership: Ownership }
  /** True if nothing is open at any voter (rule R44). */
  | { readonly kind: 'rest'; readonly isResting: boolean }
  /**
   * The clock has come to `now`: a later instance whose clock is behind must not decide a write that was given up by
   * it.
   */
  | { readonly kind: 'clock'; readonly now: number }
  /** Has no effect but its success, which proves that this instance owns its storage. */
  | { readonly kind: 'prove' };

/** A round to send, or a snapshot to take, once. Its end is the event `round-completed` or `snapshot-completed`. */
export type Send = SentRound | SentSnapshot;

/** A round on its way to a region. */
export interface SentRound {
  readonly kind: 'round';
  readonly region: RegionId;
  /** The name of the round in the event of its end. */
  readonly number: number;
  readonly round: Round;
  /** Without an answer after this time, the region counts as silent. */
  readonly timeoutMs: number;
}

/** A round of several shards on its way to a region. Its end is the event `joint-round-completed`. */
export interface SentJointRound {
  readonly kind: 'joint-round';
  readonly region: RegionId;
  readonly number: number;
  readonly round: JointRound;
  readonly timeoutMs: number;
}

/** A call to another coordinator. Its end is the event `loan-answered`. */
export interface SentLoanCall {
  readonly shard: ShardId;
  readonly number: number;
  readonly call: LoanCall;
  readonly timeoutMs: number;
}

/** A snapshot on its way to a region. */
export interface SentSnapshot {
  readonly kind: 'snapshot';
  readonly region: RegionId;
  readonly number: number;
  readonly request: SnapshotRequest;
  readonly timeoutMs: number;
}

/** A slice of all keys, to be compared in these regions. Its end is the event `comparison-completed`. */
export interface ComparisonRequest {
  readonly number: number;
  readonly regions: readonly RegionId[];
  /** The cursor of the slice; null: the first. */
  readonly cursor: string | null;
}

/** An answer to a waiting caller. */
export type CoordinatorReply =
  | { readonly kind: 'write'; readonly ticket: Ticket; readonly answer: WriteAnswer }
  | {
      readonly kind: 'resolutions';
      readonly ticket: Ticket;
      readonly resolutions: readonly Resolution[];
    }
  | { readonly kind: 'read'; readonly ticket: Ticket; readonly answer: ReadAnswer }
  | {
      readonly kind: 'admin-command';
      readonly ticket: Ticket;
      readonly answer: AdminCommandAnswer;
    }
  | { readonly kind: 'loan'; readonly ticket: Ticket; readonly answer: LoanAnswer };

/**
 * The work of the shell, in this order: store `persist` in one transaction, and only when that is durable send `sends`
 * and give `replies`. If storing fails or its outcome is unknown, the instance ends and nothing leaves.
 */
export interface Ready {
  readonly persist: readonly StorageWrite[];
  readonly sends: readonly Send[];
  /** Sent as `sends` are; there are none as long as there is one shard. */
  readonly jointRounds: readonly SentJointRound[];
  /** The calls to other coordinators, sent as `sends` are. */
  readonly calls: readonly SentLoanCall[];
  /** The slice to compare, once; null: none. */
  readonly comparison: ComparisonRequest | null;
  /** True: the registry is to be asked for the map, once. The end of that is the event `registry-answered`. */
  readonly asksRegistry: boolean;
  readonly replies: readonly CoordinatorReply[];
  /** When a `tick` event is due, by the clock that steps are given, ms; null: not before another event. */
  readonly wakeAt: number | null;
  /** Set when this instance must end itself at once: another one has taken over. Nothing else is to be done. */
  readonly ended: string | null;
}
