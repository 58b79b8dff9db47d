import { assert } from './assert.ts';

/** The bounds of what a coordinator stores, as a part of `limits`, where everybody finds them. */
export const storageLimits = {
  // Storage of a coordinator
  /** The platform refuses a row of so many bytes. */
  rowBytes: 2_000_000,
  /** What a write stores of its request: its keys, arguments and callback, as they are packed. */
  requestStoredBytes: 1_060_000,
  /** What a write stores besides its request and its replies: its id, its votes, its idempotency key. */
  recordBytes: 30_000,
  /** Names of keys that a region out is known to have missed, bytes, in storage and in memory. */
  missedBytesPerRegion: 4_000_000,
  /** What a coordinator stores, bytes: the platform gives an object 10 GB. At the bound nothing more is written. */
  keptBytesDefault: 1_000_000_000,
  /** The lowest LOCKSTEP_KEPT_BYTES. */
  keptBytesMinimum: 10_000_000,
  /** The highest LOCKSTEP_KEPT_BYTES. */
  keptBytesMaximum: 9_000_000_000,
  /** From so much of that on, the change log is dropped before its time. */
  keptPressedPercent: 70,
  /** From so much on, new answers promise to be kept under their idempotency keys for less and less time. */
  keysShrinkPercent: 75,
  /** From so much on, writes with idempotency keys are refused. */
  keysRefusedPercent: 95,
  /** The answers of writes with idempotency keys are kept for so long. */
  keysKeptMsDefault: 24 * 60 * 60 * 1_000,
  /** The shortest LOCKSTEP_KEYS_KEPT_MS. */
  keysKeptMsMinimum: 60 * 60 * 1_000,
  /** The longest LOCKSTEP_KEYS_KEPT_MS. */
  keysKeptMsMaximum: 90 * 24 * 60 * 60 * 1_000,
  /** They are dropped so long after their moment: the clocks of machines differ. */
  keysGraceMs: 60_000,
  /** How much the database grows, in writes and in bytes, before its size is looked at again. */
  roomWrites: 500,
  roomBytes: 1_000_000,
  /** Rows of one table that are dropped at once; other work goes on before the next. */
  rowsPerPrune: 100,
  /** While there is too little room, it is looked this often whether something can be dropped. */
  pruneShortMs: 1_000,
  /** Slices that a new life drops before it writes anything, if its storage is full. */
  prunesAtStart: 50,
} as const;

assert(
  storageLimits.keptBytesMinimum < storageLimits.keptBytesDefault,
  'the default bound is allowed',
);
assert(
  storageLimits.keptBytesDefault < storageLimits.keptBytesMaximum,
  'the default bound is allowed',
);
assert(
  storageLimits.keptBytesMinimum > 4 * storageLimits.roomBytes,
  'the size is looked at often enough to see the bound before it is passed',
);
assert(
  storageLimits.keptPressedPercent < storageLimits.keysShrinkPercent &&
    storageLimits.keysShrinkPercent < storageLimits.keysRefusedPercent &&
    storageLimits.keysRefusedPercent < 100,
  'the log goes before promises shrink, and keyed writes are refused before all are',
);
assert(
  storageLimits.keysKeptMsMinimum < storageLimits.keysKeptMsDefault,
  'the default time is allowed',
);
assert(
  storageLimits.keysKeptMsDefault < storageLimits.keysKeptMsMaximum,
  'the default time is allowed',
);
