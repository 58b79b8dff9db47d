/**
 * The requests to a region and its answers: rounds, snapshots and inspections, as types. `functions/region` encodes
 * them.
 */

import type { TransactionOrder } from '../ids.ts';
import type { Bytes } from './bytes.ts';
import type { Check, Operation } from './frame.ts';
import type { RawReply } from './reply.ts';
import type { Share } from './share.ts';

/**
 * The counter of an executed round and the fresh nonce that it left in the region's history. Unless all that the round
 * asked for was done, a dot and a digest of its results follow the nonce.
 */
export type RoundPair = readonly [counter: number, nonce: string];

/** The decision about a transaction, as sent to a region: commit or abort, on all of its keys. */
export interface Decision {
  readonly transaction: TransactionOrder;
  readonly outcome: 'commit' | 'abort';
  readonly keys: readonly string[];
  /**
   * Of each commit of a joint transaction: the shares of the other shards. The region applies those whose locks are all
   * there in the same script, so that nobody reads half of it. Absent from aborts and from transactions of one shard; a
   * region leaves a flush of slots as unreadable without it.
   */
  readonly otherShares?: readonly Share[];
}

/** One part of a transaction: one write's checks and operations. */
export interface Part {
  readonly checks: readonly Check[];
  readonly operations: readonly Operation[];
  /**
   * The effect of an operation that fails, as with WRONGTYPE. False: the whole part is undone. True: its error stands
   * among the part's replies, the operation has changed nothing, and the others stand, as after MULTI and EXEC. A
   * failed check and replies that are too large undo the part in both cases.
   */
  readonly continueOnError: boolean;
}

/** Phase one for one transaction: stage this, and vote. */
export interface Prepare {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
  /** The coordinator's clock, ms; a key whose expiry is at or before it counts as absent. */
  readonly now: number;
  readonly parts: readonly Part[];
}

/**
 * The region's role, as its coordinator sees it. A round for a `voter` ends the copy phase of a region whose epoch is
 * lower. Rounds for others carry no decisions, prepares or lease.
 */
export type Role = 'voter' | 'copying' | 'out';

/** The lease that a round asks for: every round to a voter that should have one asks for it (rule R30). */
export interface LeaseRequest {
  /**
   * The region's clock in an earlier answer, ms: its lease lasts until this plus `ttlMs`, so that a delayed round
   * cannot reach beyond the reading that it answers. Null grants nothing: only a reading is requested.
   */
  readonly reading: number | null;
  readonly ttlMs: number;
}

/** One key to read for a copy, and the position to read from; '' is the beginning of its value. */
export interface CopyKey {
  readonly key: Bytes;
  readonly from: string;
}

/**
 * How a key's value travels: as the server dumps it; as elements of its type, if a server knows no dump or the value is
 * too large for one round; or `absent`: the answer lists only the keys that do not exist, to be removed at the target,
 * and those that have an expiry, since they may be gone before they are copied.
 */
export type CopyForm = 'dump' | 'logical' | 'absent';

/** The step of a copy that a round takes, after its decisions and prepares. */
export type CopyStep =
  /**
   * At the target: the copy `token` begins. Drops the shard's locks, shadows, settled transactions and lease, and takes
   * the round's low watermark. The region may hold no state, the round's generation, or one of `replaces`, which is
   * dropped for the round's. So is that of `agreed`, the state of another Lockstep, if the region holds no more keys
   * than the round `takes`.
   */
  | {
      readonly kind: 'begin';
      readonly token: string;
      readonly number: number;
      readonly replaces: readonly number[];
      readonly agreed?: number;
    }
  /** At the source: the keys from `cursor` on ('0' is the beginning), about `count`, with their values. */
  | {
      readonly kind: 'scan';
      readonly cursor: string;
      readonly count: number;
      readonly form: CopyForm;
    }
  /** At the source: these keys with their values. */
  | { readonly kind: 'read'; readonly keys: readonly CopyKey[]; readonly form: CopyForm }
  /** At the target: the answer of the source. `data` is CopyItem's, unchanged. */
  | {
      readonly kind: 'write';
      readonly token: string;
      readonly number: number;
      readonly data: readonly string[];
    }
  /** At the target: the keys from `cursor` on, without values. */
  | { readonly kind: 'list'; readonly cursor: string; readonly count: number };

/** A key as the source has it at one moment without a lock, and in `data` how to write it at the target. */
export interface CopyItem {
  readonly key: Bytes;
  /** The JSON text that the target's script reads; opaque on the way. */
  readonly data: string;
  /** The position at which the value goes on; null if this was the last piece. */
  readonly next: string | null;
}

/** The result of a copy step. */
export type CopyReply =
  | { readonly kind: 'begun' }
  /** Of a scan or a read. */
  | {
      readonly kind: 'read';
      readonly items: readonly CopyItem[];
      /** Keys under a lock: their next value is on its way, so they have to be read again later. */
      readonly locked: readonly Bytes[];
      /** Keys for which the answer had no room. */
      readonly left: readonly Bytes[];
      /** The cursor of the next scan; null at the end and for a read. */
      readonly cursor: string | null;
      /** For a scan: the number of keys in the source, by DBSIZE; null for a read. */
      readonly total: number | null;
    }
  /** `failed` are the keys that this server could not take in this form, with its reason. */
  | {
      readonly kind: 'written';
      readonly failed: readonly { readonly key: Bytes; readonly reason: string }[];
    }
  | { readonly kind: 'listed'; readonly keys: readonly Bytes[]; readonly cursor: string | null }
  /**
   * The token is not that of the region's copy phase, the number is not above the highest seen, or the epoch is old.
   */
  | { readonly kind: 'refused'; readonly by: 'token' | 'number' | 'epoch' };

/** One request to one region: every decision that it has not acknowledged, then prepares. Runs as one script. */
export interface Round {
  readonly shard: number;
  /** Of this region: a region that is copied whole gets a new one. */
  readonly generation: number;
  readonly role: Role;
  readonly epoch: number;
  readonly incarnation: number;
  /** True until the region has answered once under this generation: it may take it if it holds no state at all. */
  readonly begin: boolean;
  /**
   * A region without state takes the generation, by `begin` or by the first step of a copy, only if it holds no more
   * keys than this. They are none of Lockstep's: 0, unless an operator has agreed to a number.
   */
  readonly takes: number;
  /** True until the region has answered once in this incarnation: it lists the locks of older ones. */
  readonly askOlder: boolean;
  /** Transactions at or below it are settled in this region. */
  readonly lowWatermark: TransactionOrder;
  /** The highest acknowledged pair, or null before the first. */
  readonly lastAcknowledged: RoundPair | null;
  /**
   * A fresh nonce for this round. A round that raises no fence and has no decision, prepare or copy step leaves none.
   */
  readonly nonce: string;
  readonly decisions: readonly Decision[];
  readonly prepares: readonly Prepare[];
  readonly lease: LeaseRequest | null;
  readonly copy: CopyStep | null;
}

/** Why a whole round was refused. Nothing of it was done. */
export type Refusal =
  /** The region holds another generation, `has` (0: it holds no state), and `keys` keys besides Lockstep's own. */
  | { readonly kind: 'generation'; readonly has: number; readonly keys: number }
  /** The region does not have the pair that the round names: it has lost acknowledged writes. */
  | { readonly kind: 'lost' }
  /** The pair that the round names is older than the kept history; no loss. */
  | { readonly kind: 'history' }
  /** A round for a voter came to a region that is being copied and has seen its epoch. */
  | { readonly kind: 'phase' };

/** The result of one decision. */
export type DecisionReply =
  /** Applied now, or settled before. */
  | 'acknowledged'
  /** A commit above the low watermark that is not settled and finds no locks: a prepared transaction is gone. */
  | 'lost'
  /** It holds locks in a form of a later release, which this one cannot apply; they stay. */
  | 'unreadable'
  /** The server refused a step, or the sender is of an older incarnation than the transaction; the locks stay. */
  | 'refused';

/**
 * A vote. `yes` carries the outcome of every part as a text (PartOutcomeTag) that is equal in every region with the
 * same data, and one fingerprint per key, in the order of the prepare's keys: '' if the old value did not matter,
 * `absent`, `persistent` (no expiry), or the expiry in ms. A digest of the commands by which scripts wrote follows, if
 * there are any.
 */
export type Vote =
  | {
      readonly kind: 'yes';
      readonly outcomes: readonly Bytes[];
      readonly fingerprints: readonly string[];
    }
  /** The transaction is at or below the low watermark, or settled already. */
  | { readonly kind: 'late' }
  /** It holds its locks already; nothing ran. Not a vote. */
  | { readonly kind: 'duplicate' }
  /** A key is locked by another transaction. */
  | { readonly kind: 'locked'; readonly key: string; readonly holder: TransactionOrder }
  /** The region has seen a higher epoch or incarnation than this round's. */
  | { readonly kind: 'fenced'; readonly by: 'epoch' | 'incarnation' }
  /**
   * Scripts of these parts touched keys that their transaction does not list; `everyKey` is among them if a script
   * looked at all keys. Nothing is staged; a transaction that lists these keys too may be.
   */
  | {
      readonly kind: 'unlisted';
      readonly parts: readonly { readonly part: number; readonly keys: readonly string[] }[];
    }
  /** The region's server does not know a command of this part. Nothing is staged. */
  | { readonly kind: 'lacking'; readonly part: number; readonly command: string }
  /**
   * The server itself refused a step that others may carry out: it has no memory left, is a replica, cannot write to
   * its disk. `code` is that of its error, such as OOM; `part` is the part that it refused, or null. Nothing is staged.
   */
  | {
      readonly kind: 'denied';
      readonly code: string;
      readonly reason: string;
      readonly part: number | null;
    }
  /**
   * It could not be staged, or not in time. `isEndless`: staging it alone took longer than its vote may. `most`: the
   * number of its first parts whose replies have room together.
   */
  | {
      readonly kind: 'refused';
      readonly reason: string;
      readonly isEndless?: true;
      readonly most?: number;
    };

/**
 * The outcome of a part begins with its tag, and is written as RESP2 with one character per byte (reply.ts): `[0,
 * reply, …]` with one reply per operation; `[1, i, actual]` if check `i` failed, with the actual value (nil: absent; at
 * most its first 1,000 bytes); `[2, i, text]` if operation `i` failed with the error `text`. In a part with
 * `continueOnError`, an operation that failed has an error as its reply.
 */
export type PartOutcomeTag = 0 | 1 | 2;

/** A lock that a region still holds for an older incarnation. */
export interface OlderLock {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/** A region's answer to a round that it executed. */
export interface RoundReply {
  /** One per decision, in order. */
  readonly decisions: readonly DecisionReply[];
  /** One per prepare, in order. */
  readonly votes: readonly Vote[];
  /** The last pairs of the region's history, newest last. */
  readonly history: readonly RoundPair[];
  readonly older: readonly OlderLock[];
  /** True if one answer cannot list all locks of older incarnations. */
  readonly olderTruncated: boolean;
  /** The region's clock, ms, if the round asked for a lease; else null. */
  readonly clock: number | null;
  readonly copy: CopyReply | null;
  /**
   * Whether its server is out of memory. Null if nothing has asked: a round to a voter asks once something of it takes
   * memory, any other round always.
   */
  readonly isFull: boolean | null;
}

/** The result of a round: an answer, a refusal, or nothing that can be trusted. */
export type RoundResult =
  | { readonly kind: 'executed'; readonly reply: RoundReply }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /**
   * No usable answer: the round may or may not have run. `reason` is for people; `code` is that of the server's own
   * error, if one came instead of an answer.
   */
  | { readonly kind: 'silent'; readonly reason: string; readonly code?: string };

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
  /** False skips the lease and the locks: committed, possibly old. */
  readonly strong: boolean;
  /**
   * True if the region needs a lease: the reader does not go through the coordinator. Counts for a strong snapshot
   * only.
   */
  readonly leased: boolean;
  /** The pair that has to be in the region's history, or it has lost writes; null if the reader knows none. */
  readonly lastAcknowledged: RoundPair | null;
  /** Commits that a coordinator has confirmed; the region applies them first, if it finds their locks. */
  readonly settle: readonly Decision[];
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
}

/** The result of a snapshot. */
export type SnapshotResult =
  /**
   * `replies`: one per command; a command that failed has an error there. `locks`: the locks met on the keys; empty if
   * `strong` is false.
   */
  | {
      readonly kind: 'read';
      readonly replies: readonly RawReply[];
      readonly locks: readonly { readonly key: string; readonly holder: TransactionOrder }[];
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal | { readonly kind: 'lease' } }
  /** `isUnanswered`: it was sent and nothing came back, so the region may still be at it. */
  | { readonly kind: 'silent'; readonly reason: string; readonly isUnanswered?: true };

/** True if a user's script is among `commands`: a script that blocks one region would block the next one too. */
export function holdScript(commands: readonly ReadCommand[]): boolean {
  return commands.some(({ args }) => args[0] === 'EVAL_RO');
}

/**
 * An inspection of keys or locks of a region, for operators. It changes nothing, leaves no nonce and needs no
 * generation.
 */
export type Inspection =
  /** The keys from `cursor` on, about `count`, without Lockstep's own. */
  | { readonly kind: 'scan'; readonly cursor: string; readonly count: number }
  | { readonly kind: 'keys'; readonly keys: readonly Bytes[] }
  /** Every lock, up to `count`. */
  | { readonly kind: 'locks'; readonly count: number };

/** A key as an inspection finds it. */
export interface InspectedKey {
  readonly key: Bytes;
  /** Null if the key does not exist; '' if only locks were requested. */
  readonly digest: string | null;
  readonly holder: TransactionOrder | null;
}

/** The result of an inspection; `cursor` is null at the end, and `more` is true if not all locks are listed. */
export type InspectionResult =
  | {
      readonly kind: 'inspected';
      readonly keys: readonly InspectedKey[];
      readonly cursor: string | null;
      readonly more: boolean;
    }
  | { readonly kind: 'silent'; readonly reason: string };

/** The result of a plain command; `error` is the server's own. */
export type CommandResult =
  | { readonly kind: 'answered'; readonly reply: unknown }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'silent'; readonly reason: string };
