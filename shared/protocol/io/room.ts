/**
 * Derives from the size of the database which writes a coordinator may still take in, and for how long it may promise
 * to keep their answers (rule R47).
 */

import { limits } from '../../limits.ts';

/** How much of its storage a coordinator may use, and for how long it means to keep the answers of keyed writes. */
export interface RoomBounds {
  /** Bytes of the database. */
  readonly keptBytes: number;
  /** For how long the answer of a write with an idempotency key is kept, ms, as long as there is room. */
  readonly keysKeptMs: number;
}

/** The room that is left in a coordinator's storage. */
export interface Room {
  /** No write is taken in any more. Reads go on. */
  readonly isFull: boolean;
  /** Rows that are kept by time and number alone have to go early. */
  readonly isPressed: boolean;
  /**
   * For how long the answer of a write that is taken in now will be kept under its idempotency key, ms. 0: a write with
   * a key is not taken in, because so short a time would be no promise.
   */
  readonly keysKeptMs: number;
}

/** The room of an empty storage with the default bounds. */
export const ampleRoom: Room = {
  isFull: false,
  isPressed: false,
  keysKeptMs: limits.keysKeptMsDefault,
};

/**
 * The room that `bytes` of the database leave. As it gets short, the change log goes first, then new answers are
 * promised for a shorter time, down to an hour, then writes with keys are refused, and at last all writes. Promises are
 * kept, so they shrink long before the bound.
 */
export function roomOf(bytes: number, { keptBytes, keysKeptMs }: RoomBounds): Room {
  const percent = (100 * bytes) / keptBytes;
  const { keptPressedPercent, keysShrinkPercent, keysRefusedPercent, keysKeptMsMinimum } = limits;
  const left = (keysRefusedPercent - percent) / (keysRefusedPercent - keysShrinkPercent);
  const spanMs = keysKeptMs - keysKeptMsMinimum;
  const promisedMs = Math.floor(keysKeptMsMinimum + spanMs * Math.min(1, Math.max(0, left)));
  return {
    isFull: percent >= 100,
    isPressed: percent >= keptPressedPercent,
    keysKeptMs: percent >= keysRefusedPercent ? 0 : promisedMs,
  };
}
