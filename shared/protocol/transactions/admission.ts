/** The frames that wait, in their order, and how they become the parts of transactions (rules R7 and R8). */

import type { RegionFault } from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { areAll, everyKey } from '../../reserved-keys.ts';
import type { Ticket } from '../io/events.ts';

/** A caller that waits for the answer of a frame. */
export interface Caller {
  readonly ticket: Ticket;
  readonly ack: WriteFrame['ack'];
  /** When it stops waiting for a confirmation, ms. */
  readonly until: number;
  /** True: it hears that the frame was taken in, as soon as the shard knows that it owns the keys. */
  readonly async: boolean;
}

/** A frame that has been admitted and is not decided. */
export interface PendingWrite {
  /** Its keys may grow: a script may touch more than it declares. */
  frame: WriteFrame;
  /** Its position among all arrivals of this instance; kept over attempts. */
  readonly arrival: number;
  readonly arrivedAt: number;
  /** For how long its answer will be kept under its idempotency key, ms. */
  readonly keysKeptMs: number;
  /** The bytes that counted for it when it was admitted: its keys may grow. */
  readonly admittedBytes: number;
  /** The first arrival of those that came in together with it, in order; null if it came alone. */
  readonly together: number | null;
  callers: Caller[];
  attempts: number;
  /** The number of attempts that only found keys which its script touches and does not list. */
  keyDiscoveryAttempts: number;
  /** The number of attempts that a region could not carry out, or not in time. */
  timeouts: number;
  /** The number of attempts that took a region longer than a vote may. */
  overruns: number;
  /** The most parts that may go together with it: the replies of more had no room. */
  most: number;
  /** A region whose server does not know one of its commands. */
  lacking: { readonly region: RegionId; readonly command: string } | null;
  /** The last attempt met a region without memory, and this frame takes some. */
  isDenied: boolean;
  /** The number of attempts whose script gave different results in different regions. */
  divergentAttempts: number;
  /** Its results are too large to be stored. */
  isTooLarge: boolean;
  /** No attempt before this moment, ms. */
  retryAt: number;
  /** The regions at fault for the failure of the last attempt. */
  faults: readonly RegionFault[];
  /** A shard did not lend its keys at once: from now on each shard is asked in turn, and waits (rule R57). */
  isOrdered?: boolean;
}

/**
 * Keys for which something else than a frame waits in the queue: the loan of another coordinator, or the own share of an
 * ordered joint transaction.
 */
export interface Claim {
  readonly keys: readonly string[];
  readonly priority: number;
  /** Its position among all arrivals. */
  readonly arrival: number;
  /** It is given up then, ms. */
  readonly until: number;
  /** Its keys are free, and nothing before it waits for them: it takes them. */
  grant(): void;
  /** Its time is over. */
  expire(): void;
}

/** True if `a` goes before `b`: by higher priority, then by earlier arrival (rule R7). */
export function goesBefore(a: PendingWrite, b: PendingWrite): boolean {
  return comesFirst(placeOf(a), placeOf(b));
}

type Place = Pick<Claim, 'priority' | 'arrival'>;

function placeOf({ frame: { priority }, arrival }: PendingWrite): Place {
  return { priority, arrival };
}

function comesFirst(a: Place, b: Place): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  return a.arrival < b.arrival;
}

/**
 * The frames that wait: for a key, for a region to answer, or for the pause after a failed attempt. A frame that
 * waits for a key makes later ones on its keys wait too, so that none of them starves it.
 */
export class FrameQueue {
  #frames: PendingWrite[] = [];
  #claims: Claim[] = [];
  readonly #waitedKeys = new Map<string, number>();
  #bytes = 0;

  get length(): number {
    return this.#frames.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** In the order in which they go. */
  get frames(): readonly PendingWrite[] {
    return this.#frames;
  }

  /** How many queued frames name each key. */
  get waitedKeys(): ReadonlyMap<string, number> {
    return this.#waitedKeys;
  }

  /** True if a queued frame names one of `keys`. */
  waitsFor(keys: readonly string[]): boolean {
    if (areAll(keys) && this.#claims.length > 0) return true;
    if (areAll(keys)) return this.#frames.length > 0;
    return this.#waitedKeys.has(everyKey) || keys.some((key) => this.#waitedKeys.has(key));
  }

  /** The claims that wait, in the order in which they go. */
  get claims(): readonly Claim[] {
    return this.#claims;
  }

  /** Queues a claim at its place. */
  addClaim(claim: Claim): void {
    this.#claims = [...this.#claims, claim].sort((a, b) => (comesFirst(a, b) ? -1 : 1));
    this.#countKeys(claim.keys, 1);
  }

  /** Removes a claim, if it still waits. */
  removeClaim(claim: Claim): void {
    if (!this.#claims.includes(claim)) return;
    this.#claims = this.#claims.filter((waiting) => waiting !== claim);
    this.#countKeys(claim.keys, -1);
  }

  /** Queues a frame at its place by priority and arrival. */
  add(write: PendingWrite): void {
    let low = 0;
    let high = this.#frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#frames[middle];
      if (other !== undefined && goesBefore(other, write)) low = middle + 1;
      else high = middle;
    }
    this.#frames.splice(low, 0, write);
    this.#count(write, 1);
  }

  /** Removes every frame that `leaves` picks, and returns them in order. */
  take(leaves: (write: PendingWrite) => boolean): readonly PendingWrite[] {
    const taken: PendingWrite[] = [];
    const kept: PendingWrite[] = [];
    for (const write of this.#frames) (leaves(write) ? taken : kept).push(write);
    if (taken.length > 0) this.#frames = kept;
    for (const write of taken) this.#count(write, -1);
    return taken;
  }

  #count(write: PendingWrite, by: 1 | -1): void {
    this.#bytes += by * write.frame.bytes;
    this.#countKeys(write.frame.keys, by);
  }

  #countKeys(keys: readonly string[], by: 1 | -1): void {
    for (const key of keys) {
      const count = (this.#waitedKeys.get(key) ?? 0) + by;
      if (count === 0) this.#waitedKeys.delete(key);
      else this.#waitedKeys.set(key, count);
    }
  }
}

/** A group of frames that share keys, directly or through each other: the parts of one transaction. */
interface Group {
  readonly parts: PendingWrite[];
  readonly keys: Set<string>;
  /** The other shards with keys in it: only frames with the same go together (rule R56). */
  readonly shards: string;
  bytes: number;
  /** The number of parts that it may have. */
  most: number;
}

/**
 * The number of parts that a transaction with this frame may have. Scripts and some commands take time, and many of
 * them together more than a vote has: with each attempt that took too long fewer go together, until each goes alone. So
 * it is with replies that had no room.
 */
function mostWith({ frame, timeouts, overruns, most }: PendingWrite): number {
  const hasScripts = frame.operations.some(({ kind }) => kind === 'script');
  if (!hasScripts && overruns === 0) return most;
  return Math.min(most, Math.max(1, Math.floor(limits.partsPerTransaction / 4 ** timeouts)));
}

/** How frames and claims of several shards are taken. */
interface Joins {
  /** The other shards that own some of these keys, as a text. */
  readonly shardsOf: (keys: readonly string[]) => string;
  /** Gets the claims whose keys are free. */
  readonly granted: Claim[];
}

/**
 * Takes from the queue every frame that can go at `now`, grouped into transactions. `held` says whether an undecided
 * transaction holds a key. A frame whose group would grow past the limits waits for the next batch. One that pauses
 * lets others have its keys, but not those that came in together with it: they keep their order.
 */
export function takeBatch(
  queue: FrameQueue,
  isLocked: (key: string) => boolean,
  now: number,
  joins: Joins = { shardsOf: () => '', granted: [] },
): readonly (readonly PendingWrite[])[] {
  const groupOfKey = new Map<string, Group>();
  const blocked = new Set<string>();
  const behindPause = new Set<string>();
  const { shardsOf, granted } = joins;
  const alone: PendingWrite[][] = [];
  let claimsSeen = 0;
  /** The claims before this place get their keys, or make later ones wait. */
  const passClaims = (place: Place | null): void => {
    for (const claim of queue.claims.slice(claimsSeen)) {
      if (place !== null && !comesFirst(claim, place)) return;
      claimsSeen += 1;
      const { keys } = claim;
      const isFree = !keys.some((key) => blocked.has(key) || groupOfKey.has(key) || isLocked(key));
      if (isFree && mayStandBeside(keys, groupOfKey, blocked)) granted.push(claim);
      for (const key of keys) blocked.add(key);
    }
  };
  queue.take((write) => {
    if (claimsSeen < queue.claims.length) passClaims(placeOf(write));
    const { keys } = write.frame;
    const inOrder = write.together === null ? [] : keys.map((key) => `${write.together} ${key}`);
    if (write.retryAt > now || inOrder.some((name) => behindPause.has(name))) {
      for (const name of inOrder) behindPause.add(name);
      return false;
    }
    const shards = shardsOf(keys);
    if (write.isOrdered === true && shards !== '') {
      // It holds nothing before its turn in the order of the shards.
      alone.push([write]);
      return true;
    }
    const isFree = !keys.some((key) => blocked.has(key) || isLocked(key));
    if (isFree && mayStandBeside(keys, groupOfKey, blocked) && join(write, groupOfKey, shards)) {
      return true;
    }
    for (const key of keys) blocked.add(key);
    return false;
  });
  passClaims(null);
  for (const claim of granted) queue.removeClaim(claim);
  const groups = [...new Set(groupOfKey.values())].map((group) =>
    group.parts.sort((a, b) => (goesBefore(a, b) ? -1 : 1)),
  );
  return [...groups, ...alone];
}

/** A frame about all keys goes alone, and later ones wait for it. */
function mayStandBeside(
  keys: readonly string[],
  going: ReadonlyMap<string, Group>,
  blocked: ReadonlySet<string>,
): boolean {
  if (areAll(keys)) return going.size === 0 && blocked.size === 0;
  return !going.has(everyKey) && !blocked.has(everyKey);
}

/**
 * Puts a frame into the one group that its keys lead to, merging groups that it connects; false if that is too large.
 */
function join(write: PendingWrite, groupOfKey: Map<string, Group>, shards: string): boolean {
  const touched = new Set<Group>();
  for (const key of write.frame.keys) {
    const group = groupOfKey.get(key);
    if (group !== undefined) touched.add(group);
  }
  const groups = [...touched];
  const parts = groups.reduce((sum, group) => sum + group.parts.length, 1);
  const bytes = groups.reduce((sum, group) => sum + group.bytes, write.frame.bytes);
  const most = Math.min(mostWith(write), ...groups.map((group) => group.most));
  if (groups.length > 0 && (parts > most || bytes > limits.transactionBytes)) return false;
  if (groups.some((group) => group.shards !== shards)) return false;
  const [only = { parts: [], keys: new Set<string>(), shards, bytes: 0, most }, ...rest] = groups;
  for (const group of rest) {
    only.parts.push(...group.parts);
    for (const key of group.keys) {
      only.keys.add(key);
      groupOfKey.set(key, only);
    }
  }
  only.parts.push(write);
  only.bytes = bytes;
  only.most = most;
  for (const key of write.frame.keys) {
    only.keys.add(key);
    groupOfKey.set(key, only);
  }
  return true;
}
