import type { RegionId, ShardId, TransactionOrder, WriteId } from '../ids.ts';
import type {
  CoordinatorStatus,
  RegionFault,
  Resolution,
  WriteAnswer,
  WriteRecord,
} from '../wire/answers.ts';
import type { Callback, EndpointId, Subscription, WriteEventBody } from '../wire/confirmations.ts';
import type { WriteFrame } from './frame.ts';
import type { Round, RoundPair, RoundResult } from './round.ts';

/** What stays the same for the life of an instance. */
export interface CoordinatorConfig {
  readonly shard: ShardId;
  /** The voters: every configured region. */
  readonly regions: readonly RegionId[];
  /** How many rounds may wait for an answer at once, over all regions. */
  readonly connections: number;
  /** A vote not in by then is a no, ms after its transaction began. */
  readonly voteDeadlineMs: number;
  /** A round without an answer by then is given up, ms. */
  readonly roundTimeoutMs: number;
}

/** Names a caller that waits for an answer. Given by the shell, never used twice in one instance. */
export type Ticket = number;

/** A write that was recorded under an idempotency key. */
export interface RecordedWrite {
  readonly record: WriteRecord;
  readonly digest: string;
}

/** What has happened. Each event comes with the clock's reading (ms) and fresh entropy (hex). */
export type CoordinatorEvent =
  /** A frame came in. `recorded` is what storage holds under its idempotency key. */
  | {
      readonly kind: 'arrived';
      readonly ticket: Ticket;
      readonly frame: WriteFrame;
      /** The caller is answered as soon as the frame is queued. */
      readonly async: boolean;
      readonly recorded: RecordedWrite | null;
    }
  /** A round ended. `recorded` names those of the listed older locks that storage holds a commit of. */
  | {
      readonly kind: 'answered';
      readonly region: RegionId;
      readonly round: number;
      readonly result: RoundResult;
      readonly recorded: readonly TransactionOrder[];
    }
  /** A reader asks about transactions whose locks it met. `recorded` is what storage holds of them. */
  | {
      readonly kind: 'asked';
      readonly ticket: Ticket;
      readonly transactions: readonly TransactionOrder[];
      readonly recorded: readonly StoredDecision[];
      /** Decisions of transactions at or below it may have been dropped from storage. */
      readonly horizon: TransactionOrder;
    }
  /** The standing subscriptions have changed; these are all. */
  | { readonly kind: 'subscribed'; readonly subscriptions: readonly Subscription[] }
  /** The moment of `Ready.wakeAt` has come. */
  | { readonly kind: 'ticked' };

/** A commit as storage keeps it. */
export interface StoredDecision {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/** A commit that some region has not acknowledged, with the writes whose confirmation it still owes. */
export interface UnconfirmedDecision extends StoredDecision {
  readonly writes: readonly CommittedWrite[];
}

/** What storage knows of a region. */
export interface StoredRegion {
  readonly region: RegionId;
  /** It has answered under the present generation. */
  readonly begun: boolean;
  /** The highest pair that it has acknowledged. */
  readonly pair: RoundPair | null;
  /** It was found to have lost writes: its votes count no more. */
  readonly lost: string | null;
}

/** What an instance starts from. The incarnation has been raised, durably, for it alone. */
export interface Stored {
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** The sequence of the last committed write. */
  readonly sequence: number;
  /** The last clock reading that a transaction used, ms. */
  readonly now: number;
  /** Commits that some region has not acknowledged, in the order of their sequence. */
  readonly unconfirmed: readonly UnconfirmedDecision[];
  readonly regions: readonly StoredRegion[];
  readonly subscriptions: readonly Subscription[];
}

/** What is told of a committed write, by the change feed and by confirmations. */
export interface CommittedWrite {
  readonly record: WriteRecord;
  readonly keys: readonly string[];
  /** The deterministic commands, as every region ran them. */
  readonly commands: readonly (readonly string[])[];
  readonly callback: Callback | null;
}

/** A write's record with what storage needs beside it. */
export interface DecidedWrite extends CommittedWrite {
  readonly idempotency: WriteFrame['idempotency'];
}

/** An event about a write that an endpoint is owed; the shell puts it into words. */
export interface OwedWriteEvent {
  readonly endpoint: EndpointId;
  /** The same for all attempts, and for all endpoints that hear of it. */
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

/** A write as far as an event tells of it. One that was given up has no transaction. */
export interface EventSubject extends Omit<CommittedWrite, 'record'> {
  readonly record: Pick<WriteRecord, 'id' | 'sequence' | 'part'> & {
    readonly transaction: string | null;
  };
}

/** What has to be stored. All writes of one `Ready` are one storage transaction. */
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
    }
  /** Every part was rejected: the answers are kept, nothing is applied. */
  | { readonly kind: 'reject'; readonly writes: readonly DecidedWrite[]; readonly now: number }
  /** Events that endpoints are owed from now on, until their couriers have taken them over. */
  | {
      readonly kind: 'owe';
      readonly events: readonly OwedWriteEvent[];
      /** Where events of callbacks go; null where only subscriptions are owed. */
      readonly callback: Callback | null;
    }
  /** Every region has acknowledged these commits. */
  | {
      readonly kind: 'confirm';
      readonly transactions: readonly TransactionOrder[];
      readonly now: number;
    }
  | { readonly kind: 'region'; readonly region: StoredRegion }
  /** Changes nothing that counts; its success proves that this instance is the owner of its storage. */
  | { readonly kind: 'prove' };

/** A round to send, once. */
export interface Send {
  readonly region: RegionId;
  /** Names the round in its `answered` event. */
  readonly number: number;
  readonly round: Round;
  /** After so long without an answer the round is silent. */
  readonly timeoutMs: number;
}

/** An answer to a waiting caller. */
export type Reply =
  | { readonly kind: 'write'; readonly ticket: Ticket; readonly answer: WriteAnswer }
  | {
      readonly kind: 'resolutions';
      readonly ticket: Ticket;
      readonly resolutions: readonly Resolution[];
    };

/**
 * What the shell has to do, in this order: store `persist` in one transaction, and only when that is durable send
 * `sends` and give `replies`. If storing fails or its outcome is unknown, the instance ends and nothing leaves.
 */
export interface Ready {
  readonly persist: readonly StorageWrite[];
  readonly sends: readonly Send[];
  readonly replies: readonly Reply[];
  /** When a `ticked` event is due, ms; null: not before another event. */
  readonly wakeAt: number | null;
  /** Set when this instance must end itself at once: another one has taken over. Nothing else is to be done. */
  readonly ended: string | null;
}

/** What a running instance knows of a write that is not in storage. */
export type LiveWrite =
  | { readonly kind: 'pending' }
  | {
      readonly kind: 'unavailable';
      readonly faults: readonly RegionFault[];
      readonly reason: string;
    }
  | { readonly kind: 'unknown' };

/** What a live instance can be asked without changing it. */
export interface CoordinatorView {
  write(id: WriteId): LiveWrite;
  /** The regions that have applied a recorded write, or null where it is not being applied any more, or never was. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null;
  status(): CoordinatorStatus;
}
