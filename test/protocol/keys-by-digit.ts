import type { ShardId } from '../../shared/ids.ts';
import { mapFault, ownerIn, type ShardMap, type SlotRange } from '../../shared/shards/shard-map.ts';
import { defaultPlacement, lockedSlotOf, slotCount, slotOf } from '../../shared/shards/slots.ts';

/** The letters of the keys whose last digit names their shard. */
const letters = ['a', 'b', 'n', 'p', 'x'];

/**
 * A map of `shards` shards by which the digit at the end of a short key, such as `a1`, is the number of its shard; all
 * other slots belong to shard 0.
 */
export function mapByDigit(shards: number): ShardMap {
  const owners = new Map<number, ShardId>();
  for (let shard = 0; shard < shards; shard += 1) {
    for (const letter of letters) {
      const { number } = slotOf(`${letter}${shard}`);
      if ((owners.get(number) ?? shard) !== shard) throw new Error('two such keys share a slot');
      owners.set(number, shard);
    }
  }
  const ranges = Array.from({ length: shards }, (): SlotRange[] => []);
  let first = 0;
  for (let slot = 1; slot <= slotCount; slot += 1) {
    const owner = owners.get(slot - 1) ?? 0;
    if (slot < slotCount && (owners.get(slot) ?? 0) === owner) continue;
    ranges[owner]?.push([first, slot - 1]);
    first = slot;
  }
  const placement = defaultPlacement;
  const map = {
    version: 1,
    shards: ranges.map((own, shard) => ({ shard, placement, ranges: own })),
  };
  const fault = mapFault(map);
  if (fault !== null) throw new Error(fault);
  return map;
}

/** The owner of a key by a map, as a region has it; a name of a shard's own is one of shard 0. */
export function ownerOfKey(map: ShardMap): (key: string) => ShardId {
  const known = new Map<string, ShardId>();
  return (key) => {
    const slot = lockedSlotOf(key);
    const shard = known.get(key) ?? (slot === null ? 0 : ownerIn(map, slot));
    if (known.size < 1_000) known.set(key, shard);
    return shard;
  };
}
