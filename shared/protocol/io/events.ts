/**
 * The core's input and output: the events, the state that an instance starts from, and the storage writes, requests and
 * replies of a step.
 */

import type {
  CoordinatorStatus,
  LeaseWish,
  ReadAnswer,
  ReadRequest,
  RegionFault,
  Resolution,
  UnavailableCode,
  WriteAnswer,
  WriteRecord,
} from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type {
  AdminCommand,
  AdminCommandAnswer,
  BlockedKey,
  InDoubt,
  MemberChange,
  OutCause,
} from '../../contracts/members.ts';
import type {
  Round,
  RoundPair,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from '../../contracts/round.ts';
import type {
  Callback,
  EndpointId,
  RegionEventType,
  Subscription,
  WriteEventBody,
} from '../../contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId, TransactionOrder, WriteId } from '../../ids.ts';
import type { Room } from './room.ts';

/** The settings of an instance, constant for its life. */
export interface CoordinatorConfig {
  readonly shard: ShardId;
  /** Every configured region, and those that were added. All are voters when a shard begins; later ones are copied first. */
  readonly regions: readonly RegionId[];
  /**
   * A shard that begins over this region's data, and over no other, is founded from it without a command; null or
   * absent: an operator has to found it.
   */
  readonly source?: RegionId | null;
  /** With fewer voters nothing is written. */
  readonly minVoters: number;
  /** A voter without a usable answer for this time is evicted, ms. */
  readonly outAfterMs: number;
  /** How many rounds may wait for an answer at once, over all regions. */
  readonly connections: number;
  /** A vote not in by then is a no, ms after its transaction began. */
  readonly voteDeadlineMs: number;
  /** A round without an answer by then is given up, ms. */
  readonly roundTimeoutMs: number;
}

/** Names a caller that waits for an answer. Given by the shell, never used twice in one instance. */
export type Ticket = number;

/** A write that was recorded under an idempotency key; `digest` is null if it was found by its own id. */
export interface RecordedWrite {
  readonly record: WriteRecord;
  readonly digest: string | null;
}

/**
 * A frame that came in. `recorded` is the record in storage under its idempotency key, or under its id if it came
 * again.
 */
export interface Arrival {
  readonly ticket: Ticket;
  readonly frame: WriteFrame;
  /** The caller is answered as soon as the frame is queued. */
  readonly async: boolean;
  readonly recorded: RecordedWrite | null;
  /** It came before under the same id, and its sender got no answer. */
  readonly again: boolean;
  /** Of a frame that came again: why an earlier instance gave it up and answered so, from storage; else null. */
  readonly abandoned: string | null;
  /** The room that is left in storage. */
  readonly room: Room;
}

/** The events that drive the core. Each comes with the clock's reading (ms) and fresh entropy (hex). */
export type CoordinatorEvent =
  | (Arrival & { readonly kind: 'write-received' })
  /** Frames came in together, in order: those that are free go in one batch. */
  | { readonly kind: 'writes-received'; readonly arrivals: readonly Arrival[] }
  /** A round ended. `recorded` names those of the listed older locks of which storage has a commit. */
  | {
      readonly kind: 'round-completed';
      readonly region: RegionId;
      readonly round: number;
      readonly result: RoundResult;
      readonly recorded: readonly TransactionOrder[];
    }
  /** A reader asks about transactions whose locks it met. `recorded` has the commits of these in storage. */
  | {
      readonly kind: 'resolution-requested';
      readonly ticket: Ticket;
      readonly transactions: readonly TransactionOrder[];
      readonly recorded: readonly StoredDecision[];
      /** Decisions of transactions at or below it may have been dropped from storage. */
      readonly horizon: TransactionOrder;
    }
  /** A snapshot that was sent as `Send` ended. `recorded` has the commits in storage for the locks that it met. */
  | {
      readonly kind: 'snapshot-completed';
      readonly region: RegionId;
      readonly number: number;
      readonly result: SnapshotResult;
      readonly recorded: readonly StoredDecision[];
      readonly horizon: TransactionOrder;
    }
  /** A client reads through the coordinator. */
  | { readonly kind: 'read-requested'; readonly ticket: Ticket; readonly request: ReadRequest }
  /** Strong reads come to these regions. */
  | { readonly kind: 'lease-requested'; readonly wishes: readonly LeaseWish[] }
  /** A comparison ended. */
  | {
      readonly kind: 'comparison-completed';
      readonly number: number;
      readonly result: ComparisonResult;
    }
  /** An operator changes the members. */
  | { readonly kind: 'admin-command'; readonly ticket: Ticket; readonly command: AdminCommand }
  /** The standing subscriptions have changed; these are all. */
  | { readonly kind: 'subscriptions-changed'; readonly subscriptions: readonly Subscription[] }
  /** The moment of `Ready.wakeAt` has come. */
  | { readonly kind: 'tick' };

/** The result of comparing a slice of all keys in all regions. */
export type ComparisonResult =
  | {
      readonly kind: 'compared';
      readonly checked: number;
      /** Keys that differ, or that changed each time. */
      readonly differing: number;
      /** The cursor of the next slice; null at the end. */
      readonly next: string | null;
    }
  | { readonly kind: 'silent'; readonly region: RegionId; readonly reason: string };

/** A commit as storage keeps it. */
export interface StoredDecision {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/** A commit that some voter has not acknowledged, with the writes whose confirmation is still to come. */
export interface UnconfirmedDecision extends StoredDecision {
  /** Of its last write. */
  readonly sequence: number;
  readonly writes: readonly CommittedWrite[];
}

/** Why a voter is about to be evicted, and how it may come back. */
export interface Leaving {
  readonly cause: OutCause;
  readonly detail: string;
  /**
   * It does not hold the writes that it acknowledged, or not the same as others: everything is copied when it returns.
   */
  readonly whole: boolean;
  /** It returns only at an operator's command. */
  readonly manualReturn: boolean;
}

/** Why a region is no voter, and since when. */
export interface Absence extends Leaving {
  readonly since: number;
}

/** A region's membership, as storage keeps it. */
export type Membership =
  /** `leaving`: it is evicted as soon as its lease is over; null for one that stays. */
  | { readonly state: 'voter'; readonly since: number; readonly leaving: Leaving | null }
  | ({ readonly state: 'out' } & Absence)
  | ({ readonly state: 'copying'; readonly token: string } & Absence);

/** The record of a region in storage. */
export interface StoredRegion {
  readonly region: RegionId;
  /** It accepts rounds of this generation alone. */
  readonly generation: number;
  /** Those that it had before, newest first: a copy may replace them. */
  readonly former: readonly number[];
  /** It has answered under this generation. */
  readonly begun: boolean;
  /** The number of keys not put there by Lockstep that an operator lets it take over or lose. */
  readonly takes: number;
  /** The generation of another Lockstep's state that an operator lets be replaced, with that many keys; or null. */
  readonly agreed: number | null;
  /** The highest pair that it has acknowledged. */
  readonly pair: RoundPair | null;
  readonly membership: Membership;
}

/** The keys that a region has missed, each with the sequence of the last missed write to it. */
export interface MissedKeys {
  readonly region: RegionId;
  readonly keys: readonly (readonly [key: string, sequence: number])[];
}

/** The state that an instance starts from. The incarnation has been raised, durably, for it alone. */
export interface Stored {
  /** The generation of the regions with which this storage began. */
  readonly generation: number;
  /** Of the members; 0 if there have never been any. */
  readonly epoch: number;
  readonly incarnation: number;
  /** The sequence of the last change. */
  readonly sequence: number;
  /** The last clock reading that a transaction used, ms. */
  readonly now: number;
  /** Commits that some voter has not acknowledged, in the order of their sequence. */
  readonly unconfirmed: readonly UnconfirmedDecision[];
  readonly regions: readonly StoredRegion[];
  readonly missed: readonly MissedKeys[];
  readonly blocked: readonly BlockedKey[];
  readonly subscriptions: readonly Subscription[];
  /** No voter holds a lock, and nothing is on its way to one (rule R44). */
  readonly isResting: boolean;
}

/** A committed write, as the change feed and confirmations report it. */
export interface CommittedWrite {
  readonly record: WriteRecord;
  readonly keys: readonly string[];
  /** The deterministic commands, as every region ran them. */
  readonly commands: readonly (readonly string[])[];
  readonly callback: Callback | null;
}

/** A write's record with the fields that storage alone needs. */
export interface DecidedWrite extends CommittedWrite {
  readonly idempotency: WriteFrame['idempotency'];
}

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
    };

/**
 * The work of the shell, in this order: store `persist` in one transaction, and only when that is durable send `sends`
 * and give `replies`. If storing fails or its outcome is unknown, the instance ends and nothing leaves.
 */
export interface Ready {
  readonly persist: readonly StorageWrite[];
  readonly sends: readonly Send[];
  /** The slice to compare, once; null: none. */
  readonly comparison: ComparisonRequest | null;
  readonly replies: readonly CoordinatorReply[];
  /** When a `tick` event is due, by the clock that steps are given, ms; null: not before another event. */
  readonly wakeAt: number | null;
  /** Set when this instance must end itself at once: another one has taken over. Nothing else is to be done. */
  readonly ended: string | null;
}

/** The state of a write that a running instance has and storage has not. */
export type LiveWrite =
  | { readonly kind: 'pending' }
  | {
      readonly kind: 'unavailable';
      readonly faults: readonly RegionFault[];
      readonly reason: string;
      readonly code: UnavailableCode | null;
    }
  | { readonly kind: 'unknown' };

/** Questions to a live instance that do not change it. */
export interface CoordinatorView {
  write(id: WriteId): LiveWrite;
  /** True for a frame that is on its way under the same key, or that came again and is known to this instance. */
  isUnderway(frame: Pick<WriteFrame, 'id' | 'idempotency'> & Pick<Arrival, 'again'>): boolean;
  /** The regions that have applied a recorded write, or null if it is not being applied any more, or never was. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null;
  status(): CoordinatorStatus;
  inDoubt(): InDoubt;
}
