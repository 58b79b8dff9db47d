/** Keys and channels: the rules for users' names, and the names of Lockstep's own records. */
import { utf8Length } from '../contracts/bytes.ts';
import { keyOf, type ShardId, type TransactionOrder } from '../ids.ts';
import { limits } from '../limits.ts';
import { channelPrefix, reservedPrefix } from '../reserved-keys.ts';

/**
 * The lock key of messages to `channel`: a message locks it until it is delivered, so messages of a channel keep their
 * order. A key is text, a channel may be any bytes: channels that differ only in invalid UTF-8 share a key.
 */
export function channelKey(channel: string): string {
  return `${channelPrefix}${channel.toWellFormed()}`;
}

/** Redis publishes keyspace notifications to channels with these prefixes. */
const notificationPrefixes = ['__keyspace@', '__keyevent@'] as const;

/** A pattern of this prefix followed by a wildcard asks for notifications by name. */
const notificationStem = '__key';

/** True if the name belongs to Redis's own keyspace notifications. */
export function isNotificationChannel(name: string): boolean {
  return notificationPrefixes.some((prefix) => name.startsWith(prefix));
}

/** True if the pattern asks for keyspace notifications by name: `*` does not, although it matches their channels. */
export function asksForNotifications(pattern: string): boolean {
  const [literal = ''] = pattern.split(/[*?[\\]/, 1);
  if (isNotificationChannel(literal)) return true;
  const isStem = literal.startsWith(notificationStem) && literal.length < pattern.length;
  return isStem && notificationPrefixes.some((prefix) => prefix.startsWith(literal));
}

/** The fault of `channel` as a user's channel, or null. The empty string and invalid UTF-8 are valid channels. */
export function channelFault(channel: string): CommandFault | null {
  // Subscribers could not distinguish such a message from a notification.
  if (isNotificationChannel(channel)) {
    const detail =
      'a channel belongs to keyspace notifications, which Redis alone publishes; give it another name';
    return { problem: 'reserved-key', detail };
  }
  if (channel.startsWith(reservedPrefix)) {
    const detail = `a channel begins with "${reservedPrefix}", which is reserved; give it another name`;
    return { problem: 'reserved-key', detail };
  }
  const bytes = utf8Length(channel);
  if (bytes <= limits.channelBytes) return null;
  const detail = `a channel has ${bytes} bytes; the limit is ${limits.channelBytes}`;
  return { problem: 'too-large', detail };
}

/** The reason for refusing a command or one of its keys. `detail` is for users: the fault, and the remedy. */
export interface CommandFault {
  readonly problem: 'invalid-command' | 'unsupported-command' | 'reserved-key' | 'too-large';
  readonly detail: string;
  /** If Redis refuses it as well: its error, and whether MULTI reports it already when it queues the command. */
  readonly redis?: { readonly error: string; readonly whenQueued: boolean };
}

/** The names under which a region keeps the records of one shard; region-state.lua describes their form. */
export interface RecordNames {
  /** String: the generation, the fences, the history, the settled transactions and the near locks. */
  readonly state: string;
  /** Hash: the far locks, as records by key. */
  readonly lock: string;
  /** String: the expiry of the lease by the region's own clock, in ms. */
  readonly lease: string;
}

/** Returns the names of the records that a region keeps for `shard`. */
export function recordNames(shard: ShardId): RecordNames {
  const prefix = `${reservedPrefix}${shard}:`;
  return {
    state: `${prefix}state`,
    lock: `${prefix}lock`,
    lease: `${prefix}lease`,
  };
}

/** The name under which a region stages the value that a transaction of `shard` gives to `key`. */
export function shadowName(shard: ShardId, transaction: TransactionOrder, key: string): string {
  return `${reservedPrefix}${shard}:shadow:${keyOf(transaction)}:${key}`;
}

/** The fault of `key` as a user's key, or null. The empty string is a valid key. */
export function keyFault(key: string): CommandFault | null {
  if (!key.isWellFormed()) {
    return {
      problem: 'invalid-command',
      detail: 'a key is not valid Unicode text (UTF-8); values may hold any bytes, keys may not',
    };
  }
  if (key.startsWith(reservedPrefix)) {
    const detail = `a key begins with "${reservedPrefix}", which is reserved; give it another name`;
    return { problem: 'reserved-key', detail };
  }
  const bytes = utf8Length(key);
  if (bytes <= limits.keyBytes) return null;
  return {
    problem: 'too-large',
    detail: `a key has ${bytes} bytes; the limit is ${limits.keyBytes}`,
  };
}
