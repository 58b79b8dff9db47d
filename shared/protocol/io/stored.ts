/** The state that a coordinator keeps in storage, as the next instance starts from it. */

import type { WriteRecord } from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type { BlockedKey, OutCause } from '../../contracts/members.ts';
import type { RoundPair } from '../../contracts/round.ts';
import type { Share } from '../../contracts/share.ts';
import type { Callback, Subscription } from '../../contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId, TransactionName, TransactionOrder } from '../../ids.ts';
import type { Ownership } from '../../shards/shard-map.ts';

/** A commit as storage keeps it. */
export interface StoredDecision {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
  /** Of a joint commit: the shares of the other shards. */
  readonly otherShares?: readonly Share[];
}

/** A loan that home has not concluded, as storage keeps it (rule R58). */
export interface StoredLoan {
  readonly transaction: TransactionOrder;
  readonly name: TransactionName;
  readonly keys: readonly string[];
}

/** A joint commit of which this shard is home, as it keeps it for its guests (rule R62). */
export interface StoredJointCommit {
  readonly transaction: TransactionOrder;
  /** All shares, home's first. */
  readonly shares: readonly Share[];
  readonly sequence: number;
  /** The clock reading of the transaction, ms. */
  readonly now: number;
  /** The guests that have not acknowledged it. */
  readonly unacknowledged: readonly ShardId[];
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
  /** The loans that home has not concluded, oldest first. */
  readonly loans?: readonly StoredLoan[];
  /** The joint commits that some guest has not acknowledged. */
  readonly jointCommits?: readonly StoredJointCommit[];
  /** No voter holds a lock, and nothing is on its way to one (rule R44). */
  readonly isResting: boolean;
  /** The slots that the shard owns; null if it has never had an answer of the registry. */
  readonly ownership: Ownership | null;
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
