import type { TransactionOrder } from '../ids.ts';
import type { Check, Operation } from './frame.ts';

/** The counter of an executed round and the fresh mark that it left in the region's history. */
export type RoundPair = readonly [counter: number, mark: string];

/** What a region is told about a transaction: commit or abort, on all of its keys. */
export interface Decision {
  readonly transaction: TransactionOrder;
  readonly outcome: 'commit' | 'abort';
  readonly keys: readonly string[];
}

/** One part of a transaction: one write's checks and operations. */
export interface Part {
  readonly checks: readonly Check[];
  readonly operations: readonly Operation[];
}

/** Phase one for one transaction: stage this, and vote. */
export interface Prepare {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
  /** The coordinator's clock, ms; a key whose expiry is at or before it counts as absent. */
  readonly now: number;
  readonly parts: readonly Part[];
}

/** One request to one region: every decision that it has not acknowledged, then prepares. Runs as one script. */
export interface Round {
  readonly shard: number;
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** True until the region has answered once under this generation: it may take it if it holds no state at all. */
  readonly begin: boolean;
  /** True until the region has answered once in this incarnation: it lists the locks of older ones. */
  readonly askOlder: boolean;
  /** Transactions at or below it are settled in this region. */
  readonly floor: TransactionOrder;
  /** The highest acknowledged pair, or null before the first. */
  readonly seen: RoundPair | null;
  /** A fresh mark for this round. A round without decisions and prepares leaves none. */
  readonly mark: string;
  readonly decisions: readonly Decision[];
  readonly prepares: readonly Prepare[];
}

/** Why a whole round was refused. Nothing of it was done. */
export type Refusal =
  /** The region holds another generation, `has` (0: it holds no state). */
  | { readonly kind: 'generation'; readonly has: number }
  /** The region does not have the pair that the round names: it has lost acknowledged writes. */
  | { readonly kind: 'lost' }
  /** The pair that the round names is older than the kept history; no loss. */
  | { readonly kind: 'history' };

/** What became of one decision. */
export type DecisionReply =
  /** Applied now, or settled before. */
  | 'acknowledged'
  /** A commit above the floor that finds neither its locks nor a record in `done`: a prepared transaction is gone. */
  | 'lost'
  /** The server refused a step, or the sender is of an older incarnation than the transaction; the locks stay. */
  | 'refused';

/**
 * A vote. `yes` carries the outcome of every part as one text (see PartOutcome) that is equal in every region that
 * holds the same data, and one fingerprint per key, in the order of the prepare's keys: '' where the old value did not matter, `absent`,
 * `persistent` (no expiry), or the expiry in ms.
 */
export type Vote =
  | { readonly kind: 'yes'; readonly outcomes: string; readonly fingerprints: readonly string[] }
  /** At or below the floor, or already in `done`. */
  | { readonly kind: 'late' }
  /** It holds its locks already; nothing ran. Not a vote. */
  | { readonly kind: 'duplicate' }
  /** A key is locked by another transaction. */
  | { readonly kind: 'locked'; readonly key: string; readonly holder: TransactionOrder }
  /** The region has seen a higher epoch or incarnation than this round's. */
  | { readonly kind: 'fenced'; readonly by: 'epoch' | 'incarnation' }
  /** The server has no memory left, or refused a step of the staging. */
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * The outcome of a part, as the JSON in a yes vote's `outcomes` (an array, one element a part):
 * `[0, reply, …]` with one reply an operation; `[1, i, actual]` where check `i` failed, `actual` being what was found
 * (null: absent; at most its first 1,000 bytes); `[2, i, text]` where operation `i` failed with the error `text`.
 * In a reply a string is `"…"` with one character a byte (U+0000 to U+00FF), an integer is a number, however large, a
 * nil is null, a status is `{"s":"OK"}`, an array is an array, an error inside an array is `{"e":"text"}`.
 */
export type PartOutcomeTag = 0 | 1 | 2;

/** A lock that a region still holds for an older incarnation. */
export interface OlderLock {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/** A region's answer to a round that it executed. */
export interface RoundReply {
  /** One a decision, in order. */
  readonly decisions: readonly DecisionReply[];
  /** One a prepare, in order. */
  readonly votes: readonly Vote[];
  /** The last pairs of the region's history, newest last. */
  readonly marks: readonly RoundPair[];
  readonly older: readonly OlderLock[];
  /** True where more locks of older incarnations are left than one answer lists. */
  readonly olderTruncated: boolean;
}

/** What comes of a round: an answer, a refusal, or nothing that can be trusted. */
export type RoundResult =
  | { readonly kind: 'executed'; readonly reply: RoundReply }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** No usable answer: the round may or may not have run. `reason` is for people. */
  | { readonly kind: 'silent'; readonly reason: string };

/** A read command as the region runs it; positions of its keys as in Operation. */
export interface ReadCommand {
  readonly args: readonly string[];
  readonly reads: readonly number[];
  readonly reply: 'members' | 'pairs' | null;
}

/** A snapshot of several read commands in one region, taken by one script. */
export interface SnapshotRequest {
  readonly shard: number;
  readonly generation: number;
  /** False skips the locks: committed, possibly old. */
  readonly strong: boolean;
  /** Commits that a coordinator has confirmed; they are applied first, where their locks are found. */
  readonly settle: readonly Decision[];
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
}

/** What comes of a snapshot. */
export type SnapshotResult =
  /**
   * `replies`: the JSON text of an array, one reply a command, in the form of PartOutcomeTag's replies; a command that
   * failed stands there as `{"e":"text"}`. `locks`: the locks met on the keys; empty where `strong` is false.
   */
  | {
      readonly kind: 'read';
      readonly replies: string;
      readonly locks: readonly { readonly key: string; readonly holder: TransactionOrder }[];
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'silent'; readonly reason: string };

/** One region, as the shells see it. What has no usable answer is a value, never a throw. */
export interface RegionClient {
  /** Sends the round exactly once. Silent after `timeoutMs`. */
  round(round: Round, timeoutMs: number): Promise<RoundResult>;
  snapshot(request: SnapshotRequest, timeoutMs: number): Promise<SnapshotResult>;
}
