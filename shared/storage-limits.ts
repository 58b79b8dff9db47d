/** The limits of a coordinator's storage, which are a part of `limits`. */
import { assert } from './assert.ts';

/** Each limit with its meaning. The page of limits is made from these comments. */
export const storageLimits = {
  // Storage of a coordinator
  /** A row of SQLite, the platform's limit. */
  rowBytes: 2_000_000,
  /** The events in a row of the outbox of webhooks, in bytes, unless one event alone has more. */
  outboxRowBytes: 1_000_000,
  /** Steps of the log that are indexed together. */
  stepsPerIndex: 1_000,
  /** Entries that are indexed together: ids of writes, transactions and keys. The memory has those of two rows. */
  findsPerIndex: 8_192,
  /** Bytes of the log after which its steps are indexed: a new life reads those that are not. */
  bytesPerIndex: 4_000_000,
  /** Keys of one step that are indexed; a step with more is found by none, and read for each. */
  keysListedPerStep: 4_096,
  /** The stored part of a write's request: its keys, arguments and callback, packed. */
  requestStoredBytes: 1_060_000,
  /** The stored part of a write besides its request and replies: its id, votes and idempotency key. */
  recordBytes: 30_000,
  /** The names of keys that a region is known to have missed while it was out, in storage and in memory. */
  missedBytesPerRegion: 4_000_000,
  /**
   * The storage of a coordinator if LOCKSTEP_KEPT_BYTES is not set; at this bound no write is accepted. The platform's
   * limit is 10 GB.
   */
  keptBytesDefault: 1_000_000_000,
  /** The lowest LOCKSTEP_KEPT_BYTES. */
  keptBytesMinimum: 10_000_000,
  /** The highest LOCKSTEP_KEPT_BYTES. */
  keptBytesMaximum: 9_000_000_000,
  /** The share of LOCKSTEP_KEPT_BYTES from which on the change log is dropped early. */
  keptPressedPercent: 70,
  /** The share of LOCKSTEP_KEPT_BYTES from which on responses are kept under their keys for less and less time. */
  keysShrinkPercent: 75,
  /** The share of LOCKSTEP_KEPT_BYTES from which on writes with idempotency keys are refused. */
  keysRefusedPercent: 95,
  /** The time for which responses are kept under idempotency keys, if LOCKSTEP_KEYS_KEPT_MS is not set. */
  keysKeptMsDefault: 24 * 60 * 60 * 1_000,
  /** The shortest LOCKSTEP_KEYS_KEPT_MS. */
  keysKeptMsMinimum: 60 * 60 * 1_000,
  /** The longest LOCKSTEP_KEYS_KEPT_MS. */
  keysKeptMsMaximum: 90 * 24 * 60 * 60 * 1_000,
  /** The delay after LOCKSTEP_KEYS_KEPT_MS before a response is deleted, since clocks differ. */
  keysGraceMs: 60_000,
  /** The growth of the database, in steps and in bytes, after which its size is checked again. */
  roomSteps: 500,
  roomBytes: 1_000_000,
  /** Rows of a table that are deleted at once; other work may run before the next slice. */
  rowsPerPrune: 100,
  /** Rows of up to `rowBytes` that a conversion of an older form reads at once, since an object has little memory. */
  rowsPerConversion: 4,
  /** The interval of attempts to delete rows while storage is short. */
  pruneShortMs: 1_000,
  /** Slices that a new life deletes before it writes anything, if its storage is full. */
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
