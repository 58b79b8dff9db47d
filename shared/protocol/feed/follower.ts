/**
 * A follower of the change feed as data: its filter, its cursor, and a bound on the changes that it has not
 * acknowledged.
 */

import type { Change } from '../../contracts/webhooks-and-feed.ts';
import { limits } from '../../limits.ts';
import { concerns } from '../../reserved-keys.ts';

/** Changes that were sent and not acknowledged. */
export interface Outstanding {
  readonly changes: number;
  readonly bytes: number;
}

/** The changes that a follower wants. */
export interface Filter {
  /** Only changes of a key that begins with one of these; empty: all. */
  readonly prefixes: readonly string[];
  /** True adds commands and results. */
  readonly values: boolean;
  /** True adds the changes of members, with any prefixes. */
  readonly members: boolean;
}

/** The whole state of one follower, which is kept while its feed sleeps. */
export interface Follower extends Filter {
  /** Every change up to it has been looked at: sent, or not wanted. */
  readonly next: number;
  /** Changes are known to exist up to here, although none of them may have been published. */
  readonly target: number;
  /**
   * A cursor at or before `next`. Two sums stand for the outstanding changes, instead of a list of all messages: an
   * acknowledgement of it or of a later one settles those sent up to it. The sums are never less than the outstanding
   * changes.
   */
  readonly ackCursor: number;
  readonly upToAckCursor: Outstanding;
  readonly afterAckCursor: Outstanding;
  /** Heartbeats since it was left waiting for an acknowledgement before it had caught up; null: it is not. */
  readonly pausedBeats: number | null;
}

/** A message for every follower with the same cursor and the same filter. */
export interface Chunk {
  readonly text: string;
  readonly changes: number;
  /** The cursor of a follower that has it. */
  readonly next: number;
}

const nothing: Outstanding = { changes: 0, bytes: 0 };

/** A follower that begins after the sequence `since`, when the newest change is `newest`. */
export function beginFollower(since: number, newest: number, filter: Filter): Follower {
  return {
    ...filter,
    next: since,
    target: newest,
    ackCursor: since,
    upToAckCursor: nothing,
    afterAckCursor: nothing,
    pausedBeats: null,
  };
}

/** An upper bound of the changes that were sent and not acknowledged. */
export function outstandingOf({ upToAckCursor, afterAckCursor }: Follower): Outstanding {
  return sum(upToAckCursor, afterAckCursor);
}

/**
 * True if `chunk` may be sent without an acknowledgement first. A follower that has acknowledged all may get a chunk of
 * any size.
 */
export function hasRoomFor(follower: Follower, chunk: Chunk): boolean {
  const { changes, bytes } = outstandingOf(follower);
  if (changes === 0) return true;
  return (
    changes + chunk.changes <= limits.followerWindowChanges &&
    bytes + chunk.text.length <= limits.followerWindowBytes
  );
}

/** True if a page of older changes may be fetched: it will fit, as far as can be known. */
export function hasRoomForPage(follower: Follower): boolean {
  const { changes, bytes } = outstandingOf(follower);
  if (changes === 0) return true;
  return (
    changes + limits.changesPerPage <= limits.followerWindowChanges &&
    bytes + limits.feedMessageBytes <= limits.followerWindowBytes
  );
}

/** After `chunk` was sent. */
export function afterSending(follower: Follower, chunk: Chunk): Follower {
  const sent = { changes: chunk.changes, bytes: chunk.text.length };
  return { ...follower, next: chunk.next, afterAckCursor: sum(follower.afterAckCursor, sent) };
}

/** After the client has acknowledged everything up to `acked`, which is at most `next`. */
export function afterAcknowledgement(follower: Follower, acked: number): Follower {
  const { next, ackCursor, afterAckCursor } = follower;
  if (acked >= next) {
    return {
      ...follower,
      ackCursor: next,
      upToAckCursor: nothing,
      afterAckCursor: nothing,
      pausedBeats: null,
    };
  }
  if (acked < ackCursor) return follower;
  return {
    ...follower,
    ackCursor: next,
    upToAckCursor: afterAckCursor,
    afterAckCursor: nothing,
    pausedBeats: null,
  };
}

/** True if a filter lets a change through. */
export function isWanted(
  { prefixes, members }: Omit<Filter, 'values'>,
  { keys, member }: Pick<Change, 'keys' | 'member'>,
): boolean {
  if (member !== undefined) return members;
  return concerns(keys, prefixes);
}

function sum(one: Outstanding, other: Outstanding): Outstanding {
  return { changes: one.changes + other.changes, bytes: one.bytes + other.bytes };
}
