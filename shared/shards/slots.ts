/** Slots: the parts into which keys are divided, numbered as in Redis Cluster. Which shard owns a slot is not said here. */
import { type Bytes, bytesOfText } from '../contracts/bytes.ts';
import { areAll, channelPrefix, reservedPrefix, writePrefix } from '../reserved-keys.ts';

/** The name of a part of the key space. */
export type Placement = 'default';

/** The only placement today. Each slot names its placement, so that another one needs no new form. */
export const defaultPlacement: Placement = 'default';

/** A slot of a placement, from 0 to `slotCount - 1`. */
export interface Slot {
  readonly placement: Placement;
  readonly number: number;
}

/** The number of slots of a placement, as in Redis Cluster. */
export const slotCount = 16_384;

/** The slot of writes that name no key, or all keys. */
export const homeSlot: Slot = { placement: defaultPlacement, number: 0 };

/** The slots that a write locks: those of these keys, in the order of the keys, or all. */
export type LockedSlots = 'all' | readonly [Slot, ...Slot[]];

/**
 * The slot of `key`, by the rule of the Redis Cluster specification: keys with the same hash tag, the part between the
 * first `{` and the next `}`, share a slot; an empty tag is ignored. The slot counts over the bytes that a region has.
 */
export function slotOf(key: string): Slot {
  return slotOfBytes(bytesOfText(key));
}

/** As {@link slotOf}, for a key as a region lists it: its bytes need not be UTF-8. */
export function slotOfBytes(key: Bytes): Slot {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open);
  const isTagged = close > open + 1;
  const sum = isTagged ? checksum(key, open + 1, close) : checksum(key, 0, key.length);
  return { placement: defaultPlacement, number: sum % slotCount };
}

/**
 * The slots of the keys of a write or read, each once, that of the first key first. A channel has the slot of its name.
 * The lock of a write without keys has no slot: it is a name of the shard that has the write.
 */
export function slotsOf(keys: readonly string[]): LockedSlots {
  if (areAll(keys)) return 'all';
  const slots = new Map<number, Slot>();
  for (const key of keys) {
    const slot = lockedSlotOf(key);
    if (slot === null) continue;
    if (!slots.has(slot.number)) slots.set(slot.number, slot);
  }
  const [first = homeSlot, ...more] = slots.values();
  return [first, ...more];
}

/** The slot of one key that a write locks, unless that is all keys; null if it has none. */
export function lockedSlotOf(key: string): Slot | null {
  if (!key.startsWith(reservedPrefix)) return slotOf(key);
  if (key.startsWith(channelPrefix)) return slotOf(key.slice(channelPrefix.length));
  return key.startsWith(writePrefix) ? null : slotOf(key);
}

/**
 * CRC16 with the polynomial 0x1021, as Redis Cluster computes it, of the bytes from `from` to before `to`. It is written
 * out here because the package cluster-key-slot skips an empty tag and takes the next one, which Redis does not.
 */
function checksum(bytes: Bytes, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at += 1) {
    const remainder = remainders[((sum >> 8) ^ bytes.charCodeAt(at)) & 0xff] ?? 0;
    sum = ((sum << 8) & 0xffff) ^ remainder;
  }
  return sum;
}

/** The remainder that each byte adds to a checksum. */
const remainders = Uint16Array.from({ length: 256 }, (_, byte) => {
  let sum = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 0x8000 ? (sum << 1) ^ 0x1021 : sum << 1;
  return sum & 0xffff;
});
