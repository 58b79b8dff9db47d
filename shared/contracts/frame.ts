/**
 * The write frame: a client's write, checked and compiled, in the form that every region gets. Types alone, and the one
 * step from a lifetime to a moment.
 */

import type { WriteId } from '../ids.ts';
import type { Callback } from './webhooks-and-feed.ts';

/**
 * How an operation runs on the staged state of its keys.
 *
 * - `write`: runs on shadows of its keys.
 * - `read`: changes nothing; runs on a key's shadow if it has one, else on the key itself.
 * - `set`: a plain `SET key value [PXAT t]`; `args` is `[key, value, t]` with `t` in ms since the epoch, or ''. See
 *   also `lifetimeAt`.
 * - `delete`: `DEL`/`UNLINK`; `args` is the command as given.
 * - `pop`: `SPOP key [count]`; `args` is `[key, count]`, with `count` '' for a single pop. The region sorts the members
 *   and draws with `seed`, so that every region draws the same.
 * - `ttl`: `TTL`, `PTTL`, `EXPIRETIME` or `PEXPIRETIME`; `args` is the command as given; the remaining time is counted
 *   from the transaction's `now`, not from the region's clock.
 * - `append`: `XADD` whose id is `<coordinator's ms>-*`; if the stream is ahead of it, the id follows its newest one. A
 *   `LIMIT` behind its threshold bounds the number of trimmed entries.
 * - `trim`: `XADD` or `XTRIM` with `LIMIT` right behind its threshold, which bounds the number of trimmed entries.
 * - `deliver`: `XREADGROUP GROUP group consumer …`; the delivered entries get the transaction's `now` as their time.
 * - `claim`: `XCLAIM` with `TIME` right behind its ids, or `XAUTOCLAIM` with `COUNT`; idle times are counted from the
 *   transaction's `now`.
 * - `bits`: `BITFIELD` of well-formed fields, of which some are wider than a script sees exactly; they run one by one.
 * - `distances`: `GEOSEARCHSTORE`, `GEORADIUS` or `GEORADIUSBYMEMBER` with `STOREDIST`; a digest of the stored set goes
 *   with the vote.
 * - `script`: a user's script; `args` is `[sha, text, ...keys, ...arguments]`, `writes` are the positions of the keys
 *   that its caller declared, and `seed` seeds its random draws. It changes all or nothing.
 * - `publish`: `args` is `[channelKey(channel), channel, message]`; the message is delivered in each region as it
 *   commits.
 * - `flush`: every key of the shard is deleted; `args` is `[everyKey, flushedKey]`.
 * - `fail`: fails with the text `args[0]`; names no key.
 */
export type OperationKind =
  | 'write'
  | 'read'
  | 'set'
  | 'delete'
  | 'pop'
  | 'ttl'
  | 'append'
  | 'trim'
  | 'distances'
  | 'deliver'
  | 'claim'
  | 'bits'
  | 'script'
  | 'publish'
  | 'flush'
  | 'fail';

/**
 * How to order the reply so that it is the same in every region. `members`: sort an unordered array by bytes. `pairs`:
 * sort a flat array of fields and values by field. `exact`: read back an integer that may pass 2^53, exactly;
 * `exact-field`: the same for a hash field.
 */
export type ReplySort = 'members' | 'pairs' | 'exact' | 'exact-field' | null;

/** One Redis command: checked, deterministic, its keys found. Positions in `args` count from 0, the command's name. */
export interface Operation {
  readonly kind: OperationKind;
  /** The command as the region runs it. The name is in upper case. */
  readonly args: readonly string[];
  /** Positions in `args` of keys that the command may change. */
  readonly writes: readonly number[];
  /** Positions in `args` of keys that it only reads. */
  readonly reads: readonly number[];
  readonly reply: ReplySort;
  /** For `pop` and `script` only: the seed of random draws, an integer from 0 to 2^31 - 1. */
  readonly seed: number | null;
  /**
   * The position in `args` of a lifetime in ms, which a transaction replaces by the moment at which it ends, counted from
   * its `now`; absent if there is none. Regions never see it.
   */
  readonly lifetimeAt?: number;
}

/** The operation as a transaction of this `now` (ms since the epoch) carries it: a lifetime becomes a moment. */
export function operationAt({ lifetimeAt, ...operation }: Operation, now: number): Operation {
  if (lifetimeAt === undefined) return operation;
  const { args } = operation;
  return { ...operation, args: args.with(lifetimeAt, String(now + Number(args[lifetimeAt]))) };
}

/** A precondition of a write. If the key holds another type, it fails rather than errs. */
export type Check =
  | { readonly kind: 'absent'; readonly key: string }
  | { readonly kind: 'exists'; readonly key: string }
  | { readonly kind: 'equals'; readonly key: string; readonly value: string }
  | { readonly kind: 'type'; readonly key: string; readonly type: RedisType }
  | {
      readonly kind: 'field';
      readonly key: string;
      readonly field: string;
      readonly value: string;
    };

/** The types that Redis's TYPE command names. */
export type RedisType = 'string' | 'hash' | 'set' | 'zset' | 'list' | 'stream';

/** A write frame: one write in its checked, canonical form, the same in every region. */
export interface WriteFrame {
  readonly id: WriteId;
  readonly operations: readonly Operation[];
  readonly checks: readonly Check[];
  /** True: a failing command leaves the others standing, as in MULTI; see Part. */
  readonly continueOnError: boolean;
  /** Every key of the operations and checks, each once; at least one (see keyOfWrite). */
  readonly keys: readonly string[];
  /** From 0 to 9; a frame of higher priority does not wait for an undecided one of lower priority. */
  readonly priority: number;
  /** When the caller is answered: once the decision is durable, or once every region has applied it. */
  readonly ack: 'committed' | 'confirmed';
  /** No attempt starts after this moment, in ms since the epoch by the coordinator's clock. */
  readonly notAfter: number;
  /** The client's idempotency key and a digest of its request, or null. */
  readonly idempotency: { readonly key: string; readonly digest: string } | null;
  /** The target of events about its outcome, besides the standing subscriptions; null if there is none. */
  readonly callback: Callback | null;
  /** The size of the frame on the wire, in bytes; counted against a round's limit. */
  readonly bytes: number;
}
