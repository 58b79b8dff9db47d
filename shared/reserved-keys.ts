/** The reserved names among the keys of transactions, which stand for things other than users' keys. */
import type { WriteId } from './ids.ts';

/** The prefix of every name that Lockstep uses in a region. Users' keys must not have it. */
export const reservedPrefix = 'lockstep:';

/**
 * Stands for every key of a shard, including absent ones, among the keys of a transaction. Such a transaction excludes
 * all others until it is decided (R41).
 */
export const everyKey = `${reservedPrefix}every-key`;

/** Is among the keys of a transaction that deletes all keys. A region that missed it must be copied whole. */
export const flushedKey = `${reservedPrefix}flushed`;

/** The prefix of the lock keys of writes without keys. */
export const writePrefix = `${reservedPrefix}write:`;

/** The lock key of a write without keys: without a lock, no region could report that it was staged. */
export function keyOfWrite(id: WriteId): string {
  return `${writePrefix}${id}`;
}

/** True if a transaction with these keys concerns every key. */
export function areAll(keys: readonly string[]): boolean {
  return keys.includes(everyKey);
}

/** The keys that hold values. A transaction's other keys are only locked. */
export function valuesAmong(keys: readonly string[]): readonly string[] {
  return keys.filter((key) => !key.startsWith(reservedPrefix));
}

/**
 * True if a change of `keys` matches the prefixes. No prefixes match every change, and a flush matches every prefix.
 */
export function concerns(keys: readonly string[], prefixes: readonly string[]): boolean {
  if (prefixes.length === 0 || keys.includes(flushedKey)) return true;
  return keys.some((key) => prefixes.some((prefix) => key.startsWith(prefix)));
}

/** The prefix of the lock keys of channels. */
export const channelPrefix = `${reservedPrefix}channel:`;

/** The keys without the lock keys of channels: messages appear in no event and no change. */
export function withoutChannels(keys: readonly string[]): readonly string[] {
  return keys.filter((key) => !key.startsWith(channelPrefix));
}
