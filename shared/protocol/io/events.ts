/** The input of the core: the events, and the frames that come with them. */

import type { LeaseWish, ReadRequest, WriteRecord } from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type { JointResult } from '../../contracts/joint.ts';
import type { LoanAnswer, LoanCall } from '../../contracts/loans.ts';
import type { AdminCommand } from '../../contracts/members.ts';
import type { RoundResult, SnapshotResult } from '../../contracts/round.ts';
import type { Subscription } from '../../contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId, TransactionOrder } from '../../ids.ts';
import type { ShardMap } from '../../shards/shard-map.ts';
import type { Room } from './room.ts';
import type { StoredDecision, StoredJointCommit } from './stored.ts';

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

/** The registry's answer to the question of `Ready.asksRegistry`, or why there is none. */
export type MapAnswer =
  | { readonly kind: 'map'; readonly map: ShardMap }
  | { readonly kind: 'silent'; readonly reason: string };

/** The events that drive the core. Each comes with the clock's reading (ms) and fresh entropy (hex). */
export type CoordinatorEvent =
  | (Arrival & { readonly kind: 'write-received' })
  /**
   * Frames came in together: those that are free go in one batch. `inOrder`: they are of one client, so a later one never
   * passes an earlier one with the same key.
   */
  | {
      readonly kind: 'writes-received';
      readonly arrivals: readonly Arrival[];
      readonly inOrder: boolean;
    }
  /** A round ended. `recorded` names those of the listed older locks of which storage has a commit. */
  | {
      readonly kind: 'round-completed';
      readonly region: RegionId;
      readonly round: number;
      readonly result: RoundResult;
      readonly recorded: readonly TransactionOrder[];
    }
  /** A joint round ended. `recorded` as with `round-completed`, of the listed locks of this shard. */
  | {
      readonly kind: 'joint-round-completed';
      readonly region: RegionId;
      readonly round: number;
      readonly result: JointResult;
      readonly recorded: readonly TransactionOrder[];
    }
  /**
   * Another coordinator calls. Of a question: `recorded` is the joint commit in storage of the transaction that it names,
   * or null. Of a conclusion or a repeated question, `recorded` is null.
   */
  | {
      readonly kind: 'loan-called';
      readonly ticket: Ticket;
      readonly from: ShardId;
      readonly call: LoanCall;
      readonly recorded: StoredJointCommit | null;
    }
  /** A call to another coordinator ended; null: no answer came. */
  | {
      readonly kind: 'loan-answered';
      readonly shard: ShardId;
      readonly number: number;
      readonly answer: LoanAnswer | null;
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
  /** The registry was asked, and has answered or not. */
  | { readonly kind: 'registry-answered'; readonly answer: MapAnswer }
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
