/** Which shard owns a key, and how the keys of a write divide into the shares of a joint transaction. */
import type { ShardId } from '../../ids.ts';
import { areAll, channelPrefix, reservedPrefix } from '../../reserved-keys.ts';

/** A range of slots with their owner; both ends belong to it. */
export interface OwnedRange {
  readonly first: number;
  readonly last: number;
  readonly shard: ShardId;
}

/** The owner of every key, as one shard knows it; it never changes in place. */
export interface Ownership {
  readonly shardOf: (key: string) => ShardId;
}

/** The ownership by ranges of slots that cover every slot. */
export function ownershipOf(
  ranges: readonly OwnedRange[],
  slotOf: (key: string) => number,
): Ownership {
  return {
    shardOf: (key) => {
      const slot = slotOf(key);
      const range = ranges.find(({ first, last }) => first <= slot && slot <= last);
      if (range === undefined) throw new RangeError(`no shard owns the slot ${slot}`);
      return range.shard;
    },
  };
}

/** Some keys of a shard. */
export interface KeysOfShard {
  readonly shard: ShardId;
  readonly keys: readonly string[];
}

/** Divides keys by their shards, as the shard `own` sees them. Without an ownership there is one shard. */
export class Shards {
  readonly own: ShardId;
  readonly #ownership: Ownership | null;

  constructor(own: ShardId, ownership: Ownership | null) {
    this.own = own;
    this.#ownership = ownership;
  }

  /** True if there is no other shard. */
  get isOnly(): boolean {
    return this.#ownership === null;
  }

  /** True if this shard owns all of the keys. */
  ownsAll(keys: readonly string[]): boolean {
    return this.#ownership === null || keys.every((key) => this.#shardOf(key) === this.own);
  }

  /** The keys of this shard among `keys`. */
  ownAmong(keys: readonly string[]): readonly string[] {
    if (this.#ownership === null) return keys;
    return keys.filter((key) => this.#shardOf(key) === this.own);
  }

  /** The keys of the other shards, in ascending order of the shards; empty for a write of this shard alone. */
  foreignAmong(keys: readonly string[]): readonly KeysOfShard[] {
    if (this.#ownership === null) return [];
    const byShard = new Map<ShardId, string[]>();
    for (const key of keys) {
      const shard = this.#shardOf(key);
      if (shard !== this.own) byShard.set(shard, [...(byShard.get(shard) ?? []), key]);
    }
    return [...byShard].map(([shard, own]) => ({ shard, keys: own })).sort(byNumber);
  }

  /** Why this shard cannot be home of a write to `keys`, or null. */
  objectionTo(keys: readonly string[]): string | null {
    if (this.isOnly) return null;
    if (areAll(keys)) return 'a write about all keys of several shards is not supported yet';
    return this.ownAmong(keys).length > 0 ? null : 'another shard owns its keys';
  }

  /** The shards of the keys, as a text: writes with the same one may go in one transaction. */
  signatureOf(keys: readonly string[]): string {
    if (this.isOnly) return '';
    return this.foreignAmong(keys)
      .map(({ shard }) => shard)
      .join(' ');
  }

  /** A name of this shard's own, as the lock of a write without keys is, belongs to it; a channel to the slot of its name. */
  #shardOf(key: string): ShardId {
    if (this.#ownership === null) return this.own;
    if (key.startsWith(channelPrefix)) {
      return this.#ownership.shardOf(key.slice(channelPrefix.length));
    }
    return key.startsWith(reservedPrefix) ? this.own : this.#ownership.shardOf(key);
  }
}

function byNumber(a: KeysOfShard, b: KeysOfShard): number {
  return a.shard - b.shard;
}
