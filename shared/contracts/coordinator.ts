/**
 * The coordinator's surface for the Worker: writes, reads through it, users' scripts and operators' commands, with
 * their answers, as types.
 */

import type { RegionId, TransactionOrder, WriteId } from '../ids.ts';
import type { Bytes } from './bytes.ts';
import type { Check } from './frame.ts';
import type {
  AdminCommand,
  AdminCommandAnswer,
  FoundingStatus,
  InDoubt,
  MemberChange,
  RegionConfiguration,
  RegionStatus,
} from './members.ts';
import type { KeyedRequest, RequestBegun, RequestEnd } from './requests.ts';
import type { ReadCommand } from './round.ts';
import type { Share } from './share.ts';
import type {
  Callback,
  ChangesAnswer,
  ChangesQuery,
  EndpointId,
  SigningKey,
  Subscribed,
  Subscription,
  SubscriptionChange,
  SubscriptionPatch,
} from './webhooks-and-feed.ts';

/** A write as the edge hands it to the coordinator of its shard: checked for shape, not yet made deterministic. */
export interface WriteRequest {
  /** The id that the edge gave it. */
  readonly id: WriteId;
  /** Redis commands as arrays of strings, the name first. */
  readonly ops: readonly (readonly string[])[];
  readonly checks: readonly Check[];
  /** True: a command that fails answers its error in its place, and the others stand (shared/contracts/round.ts, Part). */
  readonly continueOnError: boolean;
  readonly ack: 'committed' | 'confirmed';
  /** For how long the coordinator tries, in ms from the arrival. */
  readonly timeoutMs: number;
  readonly priority: number;
  /** The client's key as it is kept (`keptKeyOf`), and a digest of its request, or null. */
  readonly idempotency: { readonly key: string; readonly digest: string } | null;
  /** No attempt starts after it (ms since the epoch, coordinator's clock); null: `timeoutMs` alone bounds it. */
  readonly notAfter: number | null;
  readonly callback: Callback | null;
  /** The same request was sent before under the same id, and no answer came: it is carried out at most once. */
  readonly again: boolean;
}

/**
 * Asks for the answer to a write under its idempotency key. The write itself does not come along: it may be refused
 * today.
 */
export type RecallRequest = Pick<WriteRequest, 'id' | 'ack' | 'timeoutMs'> & {
  readonly idempotency: NonNullable<WriteRequest['idempotency']>;
  readonly notAfter: null;
  readonly again: false;
};

/** A region's vote as a client sees it. */
export interface VoteRecord {
  readonly region: RegionId;
  readonly vote: 'yes' | 'no' | 'missing';
  /** From the sending of the prepare to its answer, ms; null if none came. */
  readonly ms: number | null;
  /** Why not yes, for people; null for yes. */
  readonly reason: string | null;
}

/** The record of a write that has its final answer. */
export interface WriteRecord {
  readonly id: WriteId;
  readonly outcome: 'committed' | 'rejected';
  /** `shard.incarnation.sequence` of the transaction that carried it. */
  readonly transaction: string;
  /** Its place among the changes of the shard, committed writes and changes of members alike; null if rejected. */
  readonly sequence: number | null;
  /** Its outcome (shared/contracts/round.ts, PartOutcomeTag). Release 0.1 stored it as JSON: see rawOutcomeOf. */
  readonly part: string;
  readonly votes: readonly VoteRecord[];
  /** ms since the epoch. */
  readonly decidedAt: number;
  /** Until when the answer is kept under its idempotency key at least, ms since the epoch; absent if it has none. */
  readonly keptUntil?: number;
  /** The number of transactions that were tried, the last one included. */
  readonly attempts: number;
  /** The regions that have acknowledged the decision. For a rejected write: none, nothing is applied. */
  readonly appliedIn: readonly RegionId[];
  /** From the frame's arrival at the coordinator to the decision, ms. */
  readonly ms: number;
}

/** A region that kept a write or read from being answered, and how. */
export interface RegionFault {
  readonly region: RegionId;
  readonly reason: string;
}

/** The coordinator's answer to a write. */
export type WriteAnswer =
  /** Decided. `replayed`: the answer was recorded before, under the same idempotency key. */
  | { readonly kind: 'decided'; readonly record: WriteRecord; readonly replayed: boolean }
  /** Taken in; the client asks for the answer later (`Prefer: respond-async`). */
  | { readonly kind: 'accepted'; readonly id: WriteId }
  /** Decided to commit, but some region has not acknowledged within the client's time (`ack: confirmed`). */
  | { readonly kind: 'unconfirmed'; readonly record: WriteRecord }
  /** Not decided in time. Nothing was written and no attempt will start. */
  | {
      readonly kind: 'unavailable';
      readonly id: WriteId;
      readonly faults: readonly RegionFault[];
      readonly reason: string;
      /**
       * The obstacle to every write, or to every write to one of its keys; null or absent: only this attempt failed.
       */
      readonly code?: UnavailableCode | null;
    }
  /** Its `notAfter` had passed when it arrived. Nothing was written and no attempt will start. */
  | { readonly kind: 'too-late'; readonly id: WriteId }
  /** The queue is full. */
  | { readonly kind: 'busy'; readonly retryAfterMs: number }
  /**
   * The shard does not own the keys of the write, `keys`: those that the request names, and those that its script was found
   * to touch. Nothing was written and no attempt will start here. `version` is that of the map which the shard has.
   */
  | { readonly kind: 'moved'; readonly version: number; readonly keys: readonly string[] }
  /** The storage has no room for the write, or only for one without an idempotency key. */
  | { readonly kind: 'full'; readonly what: 'writes' | 'keys' }
  /** Another write was sent under this idempotency key. */
  | { readonly kind: 'key-reused'; readonly id: WriteId }
  /**
   * A command or check is refused; `problem` is a problem type of problems.ts, `detail` says why, and how to mend it.
   */
  | {
      readonly kind: 'refused';
      readonly problem: 'invalid-command' | 'unsupported-command' | 'reserved-key' | 'too-large';
      readonly detail: string;
      /** Redis's own error, if Redis refuses it too. */
      readonly error?: string;
    };

/** The answer to a write that reached the shard of its keys. */
export type PlacedAnswer = Exclude<WriteAnswer, { readonly kind: 'moved' }>;

/** Answers to some of the writes of a call, each with the position of its write. */
export type AnswerGroup = readonly (readonly [position: number, answer: WriteAnswer])[];

/** Takes answers, during the call alone. It rejects if the caller is gone. */
export type GiveAnswers = (answers: AnswerGroup) => void | Promise<void>;

/**
 * In order: too few regions can vote; the voters are out of memory, and this write takes some; a key differs between
 * regions and no majority says which is right; every voter has lost writes; the regions held data before the shard
 * began, and no operator has decided about them.
 */
export type UnavailableCode = 'too-few-voters' | 'full' | 'diverged' | 'lost' | 'not-founded';

/** The state of the write with an id. */
export type WriteStatus =
  | { readonly kind: 'recorded'; readonly record: WriteRecord; readonly confirmed: boolean }
  | { readonly kind: 'pending' }
  /** Given up at its deadline by this instance; nothing was written. */
  | {
      readonly kind: 'unavailable';
      readonly faults: readonly RegionFault[];
      readonly reason: string;
      /** The problem that needs an operator; null if time may solve it. */
      readonly code: UnavailableCode | null;
    }
  /** Never seen, or aborted by a restart, or older than the kept log. */
  | { readonly kind: 'unknown' };

/** The coordinator's word on a transaction in doubt. */
export type Resolution =
  | {
      readonly kind: 'committed';
      readonly transaction: TransactionOrder;
      readonly keys: readonly string[];
      /** Of a joint commit: the shares of the other shards. */
      readonly otherShares?: readonly Share[];
    }
  | { readonly kind: 'pending'; readonly transaction: TransactionOrder }
  | { readonly kind: 'aborted'; readonly transaction: TransactionOrder }
  /** Older than the kept log: the region that holds its lock cannot be trusted. */
  | { readonly kind: 'forgotten'; readonly transaction: TransactionOrder };

/** A read through the coordinator, for clients without a leased region nearby. */
export interface ReadRequest {
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
  /** The region to read in, or null for the one that answers fastest. */
  readonly region: RegionId | null;
  /** How many regions got it before and have not answered; 0 if omitted. */
  readonly unanswered?: number;
}

/** The answer to such a read. `replies` are those of SnapshotResult, as one text (shared/contracts/reply.ts). */
export type ReadAnswer =
  | { readonly kind: 'read'; readonly replies: Bytes; readonly region: RegionId }
  /** The shard does not own the keys of the read. `version` is that of the map which the shard has. */
  | { readonly kind: 'moved'; readonly version: number }
  | {
      readonly kind: 'unavailable';
      readonly faults: readonly RegionFault[];
      /** Set if the shard has no members yet: why, and how to go on. */
      readonly notFounded?: string;
      /** Set if as many regions as may be got it and did not answer; no other one gets it. */
      readonly isUnanswered?: true;
      /** Set if a region answered, and its keys were locked by another committed write each time. */
      readonly contendedIn?: RegionId;
    };

/** The knowledge of a shard about its own slots. */
export type SlotsStatus =
  /** It has asked the registry for the first time. */
  | { readonly phase: 'asking' }
  /** The registry has not answered, and is asked again; nothing is written until then. */
  | { readonly phase: 'waiting'; readonly detail: string }
  /** It owns `count` of all slots, by this version of the map. */
  | {
      readonly phase: 'known';
      readonly version: number;
      readonly count: number;
      readonly of: number;
    };

/** A shard's state, for `GET /v1/regions`. */
export interface CoordinatorStatus {
  readonly shard: number;
  readonly incarnation: number;
  readonly epoch: number;
  readonly sequence: number;
  /** Absent in the answer of a release before this one, which a Worker may meet during a deployment. */
  readonly slots?: SlotsStatus;
  /** With fewer voters nothing is written. */
  readonly minVoters: number;
  /** True during the write pause at the end of a copy. */
  readonly held: boolean;
  /** Null once the shard has members. */
  readonly founding: FoundingStatus | null;
  /** Keys that wait for an operator. */
  readonly blockedKeys: number;
  readonly queued: number;
  readonly undecided: number;
  readonly regions: readonly RegionStatus[];
}

/** A region that strong reads go to should have a lease for `forMs`, ms. The coordinator bounds it. */
export interface LeaseWish {
  readonly region: RegionId;
  readonly forMs: number;
}

/** The regions and their state. It holds their tokens, so it never leaves the Worker. */
export interface Directory {
  readonly regions: readonly RegionConfiguration[];
  readonly status: CoordinatorStatus;
}

/**
 * All that a coordinator offers by RPC, to the edge, the couriers and the feed. A new method is added here: the compiler
 * then asks for its implementation with the proof of its answers (CoordinatorLife) and, if the edge calls it other than
 * to send writes, for its rule of repetition (functions/edge/http/coordinator-calls.ts).
 */
export interface CoordinatorApi {
  // Writes
  write(request: WriteRequest): Promise<WriteAnswer>;
  /**
   * As {@link write} for each, in order, but all leave together: one round trip if they meet no obstacle. Each is a
   * write of its own, and sees the effects of those before it. Returns one answer per request.
   */
  writeAll(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]>;
  /**
   * As {@link write} for each, in one call: writes of clients that know nothing of each other, so no answer waits for
   * another one. Answers that come together are passed to `give` together; the last ones are returned. A write without
   * an answer in the end failed as a call that rejects.
   */
  writeGathered(requests: readonly WriteRequest[], give: GiveAnswers): Promise<AnswerGroup>;
  /** As {@link write}, but answers as soon as the frame is queued, or at once if it is refused. */
  accept(request: WriteRequest): Promise<WriteAnswer>;
  /** The answers to writes under these idempotency keys, pending ones included; null for a key without a write. */
  recall(requests: readonly RecallRequest[]): Promise<readonly (WriteAnswer | null)[]>;
  status(id: WriteId): Promise<WriteStatus>;
  /** Follows a storage write begun after the call, so a stale instance cannot answer. */
  resolve(transactions: readonly TransactionOrder[]): Promise<readonly Resolution[]>;

  // Reads and regions
  describe(): Promise<CoordinatorStatus>;
  /** A strong read that needs no lease. */
  read(request: ReadRequest): Promise<ReadAnswer>;
  /** Requests leases for regions that serve strong reads. Returns the state of all regions, as a reader needs it. */
  attend(wishes: readonly LeaseWish[]): Promise<Directory>;
  /** The regions that are configured or were added, without those removed; with tokens, so it never leaves the Worker. */
  regions(): Promise<readonly RegionConfiguration[]>;

  // Operators
  /** `address` is set for an order that adds a region. */
  order(order: AdminCommand, address: RegionConfiguration | null): Promise<AdminCommandAnswer>;
  /** The changes of members before a sequence (null: from the newest), newest first. */
  history(before: number | null, limit: number): Promise<readonly MemberChange[]>;
  inDoubt(): Promise<InDoubt>;
  /** The sequence of the newest kept write per key; null if the kept log has none. */
  lastWrites(keys: readonly string[]): Promise<readonly (number | null)[]>;

  // The change feed
  changes(query: ChangesQuery): Promise<ChangesAnswer>;
  /** The feed has followers: commits are published to it from now on. Returns the newest sequence. */
  follow(): Promise<number>;

  // Webhooks
  subscribe(subscription: Subscription): Promise<Subscribed>;
  subscriptions(): Promise<readonly Subscription[]>;
  changeSubscription(endpoint: EndpointId, patch: SubscriptionPatch): Promise<SubscriptionChange>;
  unsubscribe(endpoint: EndpointId): Promise<boolean>;
  /** Queues the subscription's events since a moment, ms, once more. Returns their number; null for an unknown endpoint. */
  recover(endpoint: EndpointId, since: number): Promise<number | null>;
  signingKey(): Promise<SigningKey>;
  /** A courier has given an endpoint up: the coordinator marks it, and notifies the other subscriptions. */
  disabled(endpoint: EndpointId, reason: string): Promise<void>;
  /**
   * A courier had a response after which nothing should be sent to any address of a host for `restMs`. Returns for how
   * long the host rests in all, ms: other couriers may have reported the same.
   */
  hostRests(host: string, restMs: number): Promise<number>;

  // Requests under idempotency keys that are not writes (requests.ts)
  /** Repeated with the same attempt, it returns the same answer. */
  beginRequest(request: KeyedRequest): Promise<RequestBegun>;
  endRequest(request: KeyedRequest, end: RequestEnd): Promise<void>;

  // Users' scripts: each answer follows a storage write
  /**
   * Keeps texts; `loaded` ones stay until they are flushed. Returns one answer per text; `full`: the texts that stay
   * leave no room, and this one is not kept.
   */
  keepScripts(texts: readonly string[], loaded: boolean): Promise<readonly ('kept' | 'full')[]>;
  /** The texts of digests (in lower case); null for an unknown digest. */
  scriptTexts(shas: readonly string[]): Promise<readonly (string | null)[]>;
  /** True for each digest that is known. */
  scriptsKnown(shas: readonly string[]): Promise<readonly boolean[]>;
  flushScripts(): Promise<void>;
}
