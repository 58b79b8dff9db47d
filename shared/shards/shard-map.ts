/** The map of the shards: which shard owns which slot. It is asked for by version, and changed only as a whole. */
import { assert } from '../assert.ts';
import type { ShardId } from '../ids.ts';
import { limits } from '../limits.ts';
import {
  defaultPlacement,
  homeSlot,
  type LockedSlots,
  type Placement,
  type Slot,
  slotCount,
  slotOf,
  slotsOf,
} from './slots.ts';

/** A run of slots, with both ends. */
export type SlotRange = readonly [first: number, last: number];

/** The slots that a shard owns in a placement, in rising ranges that do not touch. */
export interface ShardSlots {
  readonly shard: ShardId;
  readonly placement: Placement;
  readonly ranges: readonly SlotRange[];
}

/** The owner of each slot. `mapFault` says which maps are whole. */
export interface ShardMap {
  /** It rises with each change of an owner. */
  readonly version: number;
  readonly shards: readonly ShardSlots[];
}

/** The version of a map that no order has changed. */
const firstVersion = 1;

/** The first map: `shards` shards, numbered from 0, with equally many slots each, but for one. */
export function initialMap(shards: number): ShardMap {
  assert(
    Number.isInteger(shards) && shards >= 1 && shards <= limits.shards,
    `there are 1 to ${limits.shards} shards`,
  );
  const firstOf = (shard: ShardId) => Math.floor((shard * slotCount) / shards);
  return {
    version: firstVersion,
    shards: Array.from({ length: shards }, (_, shard) => ({
      shard,
      placement: defaultPlacement,
      ranges: [[firstOf(shard), firstOf(shard + 1) - 1]],
    })),
  };
}

/** Why `map` is not whole, or null: each slot has one owner, and each shard one entry per placement. */
export function mapFault({ shards }: ShardMap): string | null {
  const names = new Set(shards.map(({ shard, placement }) => `${shard} ${placement}`));
  if (names.size < shards.length) return 'a shard is listed twice';
  const ranges = shards.flatMap((one) => one.ranges).toSorted((a, b) => a[0] - b[0]);
  let next = 0;
  for (const [first, last] of ranges) {
    if (first > last) return `the range from ${first} to ${last} is empty`;
    if (first < next) return `slot ${first} has two owners`;
    if (first > next) return `slot ${next} has no owner`;
    next = last + 1;
  }
  return next === slotCount ? null : `slot ${next} is no slot, or has no owner`;
}

/** The numbers of all shards of `map`, that of {@link homeSlot} first. */
export function shardsIn(map: ShardMap): readonly [ShardId, ...ShardId[]] {
  const home = ownerIn(map, homeSlot);
  const others = new Set(map.shards.map(({ shard }) => shard).filter((shard) => shard !== home));
  return [home, ...others];
}

/** The owner of a slot. */
export function ownerIn({ shards }: ShardMap, slot: Slot): ShardId {
  const [only, ...more] = shards;
  if (only !== undefined && more.length === 0) return only.shard;
  const owner = shards.find((one) => isAmong(slot, one));
  assert(owner !== undefined, `slot ${slot.number} of ${slot.placement} has an owner`);
  return owner.shard;
}

/** The shard that owns `key`. */
export function shardOf(key: string, map: ShardMap): ShardId {
  return ownerIn(map, slotOf(key));
}

/**
 * The shards of a write or read with `keys`, each once. The first one is its home: the shard of its first key, or of
 * {@link homeSlot} if it names no key, or all.
 */
export function shardsOf(keys: readonly string[], map: ShardMap): readonly [ShardId, ...ShardId[]] {
  // No key has to be looked at if one shard owns all.
  if (map.shards.length === 1) return shardsIn(map);
  const slots = slotsOf(keys);
  if (slots === 'all') return shardsIn(map);
  const [home = ownerIn(map, homeSlot), ...guests] = new Set(
    slots.map((slot) => ownerIn(map, slot)),
  );
  return [home, ...guests];
}

/** The slots that a shard owns, as the map of a version says. */
export interface Ownership {
  readonly version: number;
  readonly slots: readonly Omit<ShardSlots, 'shard'>[];
}

/** The slots of `shard` by `map`; none if it is not listed. */
export function ownershipIn(map: ShardMap, shard: ShardId): Ownership {
  const own = map.shards.filter((one) => one.shard === shard);
  return {
    version: map.version,
    slots: own.map(({ placement, ranges }) => ({ placement, ranges })),
  };
}

/** True if the shard owns every one of `slots`. */
export function owns(ownership: Ownership, slots: LockedSlots): boolean {
  if (ownsEverySlot(ownership)) return true;
  const { slots: owned } = ownership;
  return slots !== 'all' && slots.every((slot) => owned.some((one) => isAmong(slot, one)));
}

/** True if the shard owns no slot. */
export function ownsNothing({ slots }: Ownership): boolean {
  return slots.every(({ ranges }) => ranges.length === 0);
}

/** True if the shard owns every slot: then no slot of a key has to be computed. */
export function ownsEverySlot({ slots }: Ownership): boolean {
  return slots.some(({ ranges: [first] }) => first?.[0] === 0 && first[1] === slotCount - 1);
}

function isAmong(slot: Slot, { placement, ranges }: Omit<ShardSlots, 'shard'>): boolean {
  if (placement !== slot.placement) return false;
  return ranges.some(([first, last]) => first <= slot.number && slot.number <= last);
}
