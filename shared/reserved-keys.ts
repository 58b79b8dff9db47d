import type { WriteId } from './ids.ts';

/** Every name that Lockstep itself uses in a region begins so; keys of users must not. */
export const reservedPrefix = 'lockstep:';

/**
 * Stands for every key of a shard, those that do not exist included, among the keys of a transaction: it is alone while
 * it is undecided (rule R41).
 */
export const everyKey = `${reservedPrefix}every-key`;

/** Is among the keys of a transaction that deletes all of them: whoever misses it has to be copied whole. */
export const flushedKey = `${reservedPrefix}flushed`;

/** What a write locks that names no key: without a lock nobody could tell that it was staged. */
export function keyOfWrite(id: WriteId): string {
  return `${reservedPrefix}write:${id}`;
}

/** True where a transaction on `keys` is about all keys. */
export function areAll(keys: readonly string[]): boolean {
  return keys.includes(everyKey);
}

/** The keys that hold a value; the others among a transaction's keys are only locked. */
export function valuesAmong(keys: readonly string[]): readonly string[] {
  return keys.filter((key) => !key.startsWith(reservedPrefix));
}

/** True where a change of `keys` is of interest to who asked for these prefixes; none means all. */
export function concerns(keys: readonly string[], prefixes: readonly string[]): boolean {
  if (prefixes.length === 0 || keys.includes(flushedKey)) return true;
  return keys.some((key) => prefixes.some((prefix) => key.startsWith(prefix)));
}

/** Begins the names of what stands for channels among the keys of transactions. */
export const channelPrefix = `${reservedPrefix}channel:`;

/** The keys without those that stand for channels: a message is no key's business, and nobody is told of one. */
export function withoutChannels(keys: readonly string[]): readonly string[] {
  return keys.filter((key) => !key.startsWith(channelPrefix));
}
