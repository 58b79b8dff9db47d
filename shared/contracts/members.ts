/**
 * The members of a shard as operators see them: how each region does, its way out of the vote and back, and the
 * commands with which an operator changes that.
 */

import type { RegionId } from '../ids.ts';

/** One region as configured. `location` is [latitude, longitude] in degrees. */
export interface RegionConfiguration {
  readonly id: RegionId;
  readonly url: string;
  readonly token: string;
  readonly location: readonly [latitude: number, longitude: number];
}

/** Why a region has no vote. */
export type OutCause =
  /** It has been added, and never had one. */
  | 'new'
  /** It gave no usable answer for too long. */
  | 'silent'
  /**
   * Its server kept refusing writes that others carried out: it has no memory, cannot write to its disk, or is a
   * replica.
   */
  | 'refusing'
  /** It lost writes that it had acknowledged. */
  | 'lost'
  /** It holds the state of another Lockstep, or keys that Lockstep did not put there. */
  | 'foreign'
  /** Its results differed from those of the other regions. */
  | 'diverged'
  /** An operator evicted it. */
  | 'ordered'
  /** An operator trusts its data: it votes again as soon as it has dropped its unfinished transactions. */
  | 'believed'
  /** An operator repairs keys in it. */
  | 'repair'
  /** It is not configured any more. */
  | 'removed';

/** The kind of a change of members. */
export type MemberEvent =
  | 'added'
  | 'leaving'
  /** It was about to leave, and stays: the command was revoked in time. */
  | 'stayed'
  | 'out'
  | 'copying'
  | 'returned'
  | 'removed'
  /** An operator chose its data as the right ones; every other region is out. */
  | 'believed'
  /** The shard begins over data that Lockstep did not write, as an operator or a comparison of the regions allowed. */
  | 'founded'
  /** Regions gave different results for the same write. */
  | 'diverged';

/** One entry of the durable history of a shard's members. */
export interface MemberChange {
  /** Its place among all changes of the shard, writes and members alike. */
  readonly sequence: number;
  /** ms since the epoch. */
  readonly at: number;
  /** The epoch after it. */
  readonly epoch: number;
  readonly region: RegionId;
  readonly event: MemberEvent;
  readonly cause: OutCause | null;
  /** For people. */
  readonly detail: string;
}

/** The progress of the copy into a region. */
export interface CopyProgress {
  /** True: all keys are copied; false: only those that it has missed. */
  readonly whole: boolean;
  readonly source: RegionId;
  readonly phase: 'beginning' | 'keys' | 'removals' | 'hold';
  readonly startedAt: number;
  /** Keys copied. */
  readonly done: number;
  /** Keys to come, as far as known; null before they are counted. */
  readonly left: number | null;
  readonly keysPerSecond: number;
  readonly etaMs: number | null;
}

/** A region as its coordinator sees it. */
export interface RegionStatus {
  readonly region: RegionId;
  readonly state: 'voter' | 'out' | 'copying';
  /** Why it is not a voter, or is about to lose its vote; null for a voter that stays. */
  readonly cause: OutCause | null;
  /** True if it returns only at an operator's command. */
  readonly held: boolean;
  /** Since when it has been in this state, ms since the epoch; null if unknown. */
  readonly since: number | null;
  /** `answering`; `refusing` (its server refuses writes), `silent` (no usable answer lately), `foreign`, or `lost`. */
  readonly health: 'answering' | 'refusing' | 'silent' | 'foreign' | 'lost';
  /** Whether rounds go there: freely, not at all for the moment, or a single probe. */
  readonly circuit: 'closed' | 'open' | 'half-open';
  /** The reason for its poor health, for people. */
  readonly detail: string | null;
  readonly generation: number;
  /** For how long it may serve strong reads at most, by the coordinator's clock, ms; 0: not at all. */
  readonly leaseMs: number;
  /** Smoothed time of a round, ms; null before the first. */
  readonly roundTripMs: number | null;
  readonly roundsInFlight: number;
  /** Decisions that it has not acknowledged, and the age of the oldest, ms. */
  readonly unacknowledged: number;
  readonly oldestUnacknowledgedMs: number | null;
  /** Keys that it is known to have missed; null if all have to be copied. */
  readonly missedKeys: number | null;
  readonly copy: CopyProgress | null;
}

/** A command of an operator about the members. */
export type AdminCommand =
  /**
   * A shard without members begins: with the data of `source`, which is copied to all others, or with the data of all
   * regions if they `agree`. With neither, the regions are asked again for their contents. `replace` is the number of
   * keys per region that may be lost there.
   */
  | {
      readonly kind: 'found';
      readonly source: RegionId | null;
      readonly agree: boolean;
      readonly replace: KeyCounts;
    }
  /**
   * A region that has just been configured gets a copy of everything, and then its vote. Up to `replace` keys that
   * Lockstep did not put there may be lost.
   */
  | { readonly kind: 'add'; readonly region: RegionId; readonly replace?: number }
  /** The region is evicted and forgotten. */
  | { readonly kind: 'remove'; readonly region: RegionId }
  /** The region is evicted, and stays out until an operator lets it return. */
  | { readonly kind: 'put-out'; readonly region: RegionId; readonly reason: string }
  /**
   * The region may return. `whole` copies everything; with `force` also if it holds another Lockstep's state; up to
   * `replace` keys that this Lockstep did not put there may be lost.
   */
  | {
      readonly kind: 'return';
      readonly region: RegionId;
      readonly whole: boolean;
      readonly force: boolean;
      readonly replace?: number;
    }
  /**
   * The data of this region are right, even if it has lost writes: it is the only voter, and all others are copied from
   * it.
   */
  | { readonly kind: 'believe'; readonly region: RegionId }
  /** Each of these keys is copied from `source` to the regions listed with it. */
  | {
      readonly kind: 'repair';
      readonly source: RegionId;
      readonly keys: readonly { readonly key: string; readonly regions: readonly RegionId[] }[];
    }
  /** An undecided transaction is aborted; for a decided one, every voter is asked for its locks again. */
  | { readonly kind: 'settle'; readonly transaction: readonly [number, number] };

/** A number of keys per region. */
export type KeyCounts = Readonly<Record<RegionId, number>>;

/** The state of a shard that has no members yet. */
export interface FoundingStatus {
  /**
   * `counting`: the regions are asked for their contents. `comparing`: they hold equally many keys, and these are
   * compared. `waiting`: an operator has to choose how to begin (POST /v1/admin/found).
   */
  readonly phase: 'counting' | 'comparing' | 'waiting';
  /** The reason for the wait, for people. */
  readonly detail: string;
  /** Keys that Lockstep did not put there, per region; null for one that has not answered. */
  readonly keys: Readonly<Record<RegionId, number | null>>;
  /** Keys compared so far; null if no comparison runs. */
  readonly compared: number | null;
}

/** The answer to an operator's command, which is durable by then; a region leaves or returns after that. */
export type AdminCommandAnswer =
  | { readonly kind: 'taken'; readonly detail: string }
  /** Nothing was done; `detail` says why, and how to go on. `keys`: the keys that would be lost, by region. */
  | { readonly kind: 'refused'; readonly detail: string; readonly keys?: KeyCounts }
  /** The command names a region that this shard does not have; `detail` lists those that it has. */
  | { readonly kind: 'unknown-region'; readonly detail: string };

/** A transaction that is not over: undecided, or with voters that have not acknowledged it. */
export interface OpenTransaction {
  /** `shard.incarnation.sequence`. */
  readonly transaction: string;
  readonly state: 'undecided' | 'committing' | 'aborting';
  readonly keys: readonly string[];
  /** Since it began here, ms; for one of a former instance, since this one took it over. */
  readonly ageMs: number;
  /** The regions whose vote or acknowledgement is awaited. */
  readonly waitsFor: readonly RegionId[];
}

/** A key that takes no writes until an operator names the region with the right value. */
export interface BlockedKey {
  readonly key: string;
  readonly detail: string;
}

/** The undecided transactions and blocked keys of a shard. */
export interface InDoubt {
  readonly transactions: readonly OpenTransaction[];
  readonly blocked: readonly BlockedKey[];
}
