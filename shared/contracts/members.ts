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
  /** Its server refused for too long what others carried out: it has no memory, cannot write to its disk, is a replica. */
  | 'refusing'
  /** It had lost what it acknowledged. */
  | 'lost'
  /** It holds the state of another Lockstep, or keys that Lockstep did not put there. */
  | 'foreign'
  /** Its results differed from those of the other regions. */
  | 'diverged'
  /** An operator said so. */
  | 'ordered'
  /** An operator takes what it holds for right: it votes again as soon as it has dropped what it was in the midst of. */
  | 'believed'
  /** An operator has keys of it repaired. */
  | 'repair'
  /** It is not configured any more. */
  | 'removed';

/** What a change of members was. */
export type MemberEvent =
  | 'added'
  | 'leaving'
  /** It was to leave, and stays: the order was taken back in time. */
  | 'stayed'
  | 'out'
  | 'copying'
  | 'returned'
  | 'removed'
  /** An operator took its data for the right ones; every other region is out. */
  | 'believed'
  /** A shard begins over data that Lockstep did not write, as an operator or a comparison of the regions allowed. */
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

/** How far the copy into a region has come. */
export interface CopyProgress {
  /** All keys, or only those that it has missed. */
  readonly whole: boolean;
  readonly source: RegionId;
  readonly phase: 'beginning' | 'keys' | 'removals' | 'hold';
  readonly startedAt: number;
  /** Keys copied. */
  readonly done: number;
  /** Keys to come, as far as known; null where nobody has counted. */
  readonly left: number | null;
  readonly keysPerSecond: number;
  readonly etaMs: number | null;
}

/** A region as its coordinator sees it. */
export interface RegionStatus {
  readonly region: RegionId;
  readonly state: 'voter' | 'out' | 'copying';
  /** Why it is not a voter, or will not be one for long; null for a voter that stays. */
  readonly cause: OutCause | null;
  /** True where it returns only when an operator says so. */
  readonly held: boolean;
  /** Since when it has been in this state, ms since the epoch; null where that is not known. */
  readonly since: number | null;
  /** `answering`; `refusing` (its server refuses writes), `silent` (no usable answer lately), `foreign`, or `lost`. */
  readonly health: 'answering' | 'refusing' | 'silent' | 'foreign' | 'lost';
  /** Whether rounds go there: freely, not at all for the moment, or a single probe. */
  readonly circuit: 'closed' | 'open' | 'half-open';
  /** What ails it, for people. */
  readonly detail: string | null;
  readonly generation: number;
  /** For how long it may serve strong reads at most, as the coordinator reckons, ms; 0: not at all. */
  readonly leaseMs: number;
  /** Smoothed time of a round, ms; null before the first. */
  readonly roundTripMs: number | null;
  readonly roundsInFlight: number;
  /** Decisions that it has not acknowledged, and the age of the oldest, ms. */
  readonly unacknowledged: number;
  readonly oldestUnacknowledgedMs: number | null;
  /** Keys that it is known to have missed; null where all have to be copied. */
  readonly missedKeys: number | null;
  readonly copy: CopyProgress | null;
}

/** What an operator has the coordinator do. */
export type MemberOrder =
  /**
   * A shard that has no members yet begins: with what `source` holds, which is copied to all others, or with what all
   * regions hold where they `agree`. With neither, the regions are asked once more what they hold. `replace` says per
   * region how many keys may be lost there.
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
  /** The region is put out and forgotten. */
  | { readonly kind: 'remove'; readonly region: RegionId }
  /** The region is put out, and stays out until it is told to return. */
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
  /** What this region holds is right, whatever was lost: it is the only voter, and all others are copied from it. */
  | { readonly kind: 'believe'; readonly region: RegionId }
  /** Each of these keys is copied from `source` to the regions named with it. */
  | {
      readonly kind: 'repair';
      readonly source: RegionId;
      readonly keys: readonly { readonly key: string; readonly regions: readonly RegionId[] }[];
    }
  /** A transaction that is undecided is aborted; of one that is decided, every voter is told once more. */
  | { readonly kind: 'settle'; readonly transaction: readonly [number, number] };

/** A number of keys per region. */
export type KeyCounts = Readonly<Record<RegionId, number>>;

/** How a shard stands that has no members yet. */
export interface FoundingStatus {
  /**
   * `counting`: the regions are asked what they hold. `comparing`: they hold equally many keys, and these are compared.
   * `waiting`: an operator has to say how to begin (POST /v1/admin/found).
   */
  readonly phase: 'counting' | 'comparing' | 'waiting';
  /** What it waits for, for people. */
  readonly detail: string;
  /** Keys that Lockstep did not put there, per region; null for one that has not answered. */
  readonly keys: Readonly<Record<RegionId, number | null>>;
  /** Keys compared so far; null where nothing is compared. */
  readonly compared: number | null;
}

/** What became of an order. It is durable when it is answered; a region leaves or returns after that. */
export type OrderAnswer =
  | { readonly kind: 'taken'; readonly detail: string }
  /** Nothing was done; `detail` says why and what to do. `keys`: what would be lost, by region. */
  | { readonly kind: 'refused'; readonly detail: string; readonly keys?: KeyCounts }
  /** The order names a region that this shard does not have; `detail` lists those that it has. */
  | { readonly kind: 'unknown-region'; readonly detail: string };

/** A transaction that is not over: undecided, or with voters that have not acknowledged it. */
export interface OpenTransaction {
  /** `shard.incarnation.sequence`. */
  readonly transaction: string;
  readonly state: 'undecided' | 'committing' | 'aborting';
  readonly keys: readonly string[];
  /** Since it began here, ms; since this instance took it over for one that it found. */
  readonly ageMs: number;
  /** Whose vote or acknowledgement is awaited. */
  readonly waitsFor: readonly RegionId[];
}

/** A key to which nothing is written until an operator names the region to believe. */
export interface BlockedKey {
  readonly key: string;
  readonly detail: string;
}

/** What is in doubt in a shard. */
export interface InDoubt {
  readonly transactions: readonly OpenTransaction[];
  readonly blocked: readonly BlockedKey[];
}
