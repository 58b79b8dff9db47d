import type { WriteAnswer } from '../../contracts/coordinator.ts';
import type { ShardId } from '../../ids.ts';
import { areAll } from '../../reserved-keys.ts';
import { ownerIn, type ShardMap } from '../../shards/shard-map.ts';
import { lockedSlotOf } from '../../shards/slots.ts';
import type { OwnedSlots } from './owned-slots.ts';

/** The answer to a write for a key that the shard does not own. */
type Moved = Extract<WriteAnswer, { kind: 'moved' }>;

/** Some keys of a shard. */
export interface KeysOfShard {
  readonly shard: ShardId;
  readonly keys: readonly string[];
}

/**
 * Divides the keys of a write by their shards, as the shard `own` sees them. Whether a key is its own is a matter of its
 * stored slots alone; the map says whom to ask for the others. Without a map a write needs all of its keys here.
 */
export class Shards {
  readonly own: ShardId;
  readonly #slots: OwnedSlots;
  readonly #map: ShardMap | null;

  constructor(own: ShardId, slots: OwnedSlots, map: ShardMap | null) {
    this.own = own;
    this.#slots = slots;
    this.#map = map;
  }

  /** True if this shard takes part in no joint write. */
  get isOnly(): boolean {
    return this.#map === null;
  }

  /** The keys of this shard among `keys`. */
  ownAmong(keys: readonly string[]): readonly string[] {
    if (this.isOnly) return keys;
    return keys.filter((key) => this.#isOwn(key));
  }

  /** The keys of the other shards, in ascending order of the shards; empty for a write of this shard alone. */
  foreignAmong(keys: readonly string[]): readonly KeysOfShard[] {
    if (this.isOnly || this.#slots.own(keys)) return [];
    const byShard = new Map<ShardId, string[]>();
    for (const key of keys) {
      if (this.#isOwn(key)) continue;
      const shard = this.#peerWith(key);
      if (shard !== null) byShard.set(shard, [...(byShard.get(shard) ?? []), key]);
    }
    return [...byShard].map(([shard, some]) => ({ shard, keys: some })).sort(byNumber);
  }

  /**
   * The answer to a write with `keys` that this shard cannot be home of, since it does not own the first one, or knows
   * nobody who owns another (rule R50). Null: it may be carried out, or has to wait.
   */
  movedFor(keys: readonly string[]): Moved | null {
    return this.#mayJoin(keys) ? null : this.#slots.movedFor(keys);
  }

  /** Why a write with `keys` cannot be joint, or null. */
  objectionTo(keys: readonly string[]): string | null {
    if (this.isOnly || !this.#slots.isKnown || !areAll(keys) || this.#slots.own(keys)) return null;
    return 'a write about all keys of several shards is not supported yet';
  }

  /** The shards of the keys, as a text: writes with the same one may go in one transaction. */
  signatureOf(keys: readonly string[]): string {
    if (this.isOnly) return '';
    return this.foreignAmong(keys)
      .map(({ shard }) => shard)
      .join(' ');
  }

  /** True if this shard can be home of a write to these keys, some of which may be of others. */
  #mayJoin(keys: readonly string[]): boolean {
    if (this.isOnly) return false;
    if (areAll(keys)) return true;
    const [first] = keys;
    if (first === undefined || !this.#isOwn(first)) return false;
    return keys.every((key) => this.#isOwn(key) || this.#peerWith(key) !== null);
  }

  /** A name of this shard's own, as the lock of a write without keys is, belongs to the shard that has slot 0. */
  #isOwn(key: string): boolean {
    return this.#slots.own([key]);
  }

  /** The other shard that owns a key, by the map; null if the map says that this one does. */
  #peerWith(key: string): ShardId | null {
    const slot = lockedSlotOf(key);
    if (this.#map === null || slot === null) return null;
    const shard = ownerIn(this.#map, slot);
    return shard === this.own ? null : shard;
  }
}

function byNumber(a: KeysOfShard, b: KeysOfShard): number {
  return a.shard - b.shard;
}
