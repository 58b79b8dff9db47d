/**
 * The history of a torture run: each operation with its time by one clock, as its client saw it. The order of the
 * writes is in the data themselves, so the checker needs no number that a coordinator gives: each write appends its name
 * to the journals of the cells that it changes, and a counter's value is the number of its increments.
 */
import type { SentCommand } from './commands.ts';

/** The text of a key: the names in a journal, each followed by `;`, or a string. Null if the key is absent. */
export type KeyText = string | null;

/** A response that acknowledged a write. Responses to one idempotency key have to be equal. */
export interface WriteReceipt {
  readonly at: number;
  readonly id: string;
  /** The transaction's name begins with its shard. */
  readonly transaction: string;
  readonly sequence: number;
  readonly results: readonly unknown[];
}

/** A write, over all its attempts. */
export interface TortureWrite {
  readonly kind: 'write';
  /** Unique in the run, and appended to each journal that the write touches. */
  readonly name: string;
  readonly commands: readonly SentCommand[];
  /** The value that a key must have, or nothing is written. */
  readonly check: { readonly key: string; readonly equals: string } | null;
  readonly isKeyed: boolean;
  readonly startedAt: number;
  /** The time of the first acknowledgement, or of the refusal; null if there is none. */
  readonly endedAt: number | null;
  /**
   * `refused`: a response says that nothing was written. `rejected`: so it says because of the check. `unknown`: the
   * write may take effect at any time after its start, or never.
   */
  readonly outcome: 'committed' | 'refused' | 'rejected' | 'unknown';
  /** All acknowledgements, of repetitions as well. */
  readonly receipts: readonly WriteReceipt[];
  /** The value that a failed check found. */
  readonly actual: KeyText;
}

/** A read of several keys at one moment. */
export interface TortureRead {
  readonly kind: 'read';
  /** `strong`: by Lockstep. `plain`: directly in a region's Redis, committed and possibly old. */
  readonly consistency: 'strong' | 'plain';
  readonly region: string;
  readonly via: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly values: readonly (readonly [key: string, text: KeyText])[];
}

/** A change, as a follower of the feed got it. */
export interface FollowedChange {
  readonly sequence: number;
  readonly id: string;
  readonly transaction: string;
  readonly keys: readonly string[];
  /** The name of the write, if a command of it has one. */
  readonly name: string | null;
  /** The results of its increments of counters. */
  readonly counts: readonly (readonly [key: string, value: number])[];
}

/** A time in which a region may show things that it shows at no other time: during a copy, or after its data went back. */
export interface RegionSpan {
  readonly region: string;
  readonly from: number;
  readonly to: number;
}

/** A run, complete. */
export interface TortureHistory {
  readonly writes: readonly TortureWrite[];
  readonly reads: readonly TortureRead[];
  /** The changes of each follower, in the order in which they came. */
  readonly followers: readonly (readonly FollowedChange[])[];
  /** The text of every key in every region after all faults had ended. */
  readonly finals: ReadonlyMap<string, ReadonlyMap<string, KeyText>>;
  /** The time of the final reading. */
  readonly finalAt: number;
  /** A region is being filled: plain readers there may see a part of a write. */
  readonly copies: readonly RegionSpan[];
  /** A region has lost writes and may not know it yet: strong reads by its lease may be old. */
  readonly losses: readonly RegionSpan[];
  /** Anything that the run itself found wrong, such as a lock that is left, or a response that no fault explains. */
  readonly complaints: readonly string[];
}

/** A contradiction to a promise. `operations` are those that contradict each other, in the order of their starts. */
export interface Violation {
  readonly promise:
    | 'one order'
    | 'no write is lost'
    | 'once'
    | 'all or none'
    | 'only committed'
    | 'same answer'
    | 'regions are equal'
    | 'feed'
    | 'results'
    | 'free after faults';
  readonly reason: string;
  readonly operations: readonly (TortureWrite | TortureRead)[];
}
