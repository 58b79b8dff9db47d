import { asksForNotifications, channelFault, isNotificationChannel } from '../commands/keys.ts';
import { bytesWithin, textWithBytes } from '../commands/raw-bytes.ts';
import type { Scope } from '../config/configuration.ts';
import { limits } from '../limits.ts';
import { reservedPrefix } from '../reserved-keys.ts';
import { percentDecode, type UpstashRefusal } from './request.ts';

/** What a client of Upstash's protocol may open as server-sent events. */
export type UpstashStream =
  | { readonly kind: 'subscribe' | 'psubscribe'; readonly names: readonly string[] }
  | { readonly kind: 'monitor' };

/** Why a subscription to keyspace notifications is refused, and what to use instead. */
const noNotifications =
  'keyspace notifications are not available: a region sends them for the commands with which Lockstep applies a ' +
  'write, not for the commands of the write itself; use /v1/changes or a webhook to follow committed writes';

/**
 * What stream the address asks for, why it cannot be had, or null where it asks for none. A body says nothing here: the
 * SDK of Upstash sends an empty array.
 */
export function parseStream(
  method: string,
  target: string,
  scope: Scope,
): UpstashStream | UpstashRefusal | null {
  const [path = '/'] = target.split('?', 1);
  const [first = '', ...steps] = path.slice(1).split('/');
  const kind = first.toLowerCase();
  if (kind !== 'subscribe' && kind !== 'psubscribe' && kind !== 'monitor') return null;
  if (method !== 'GET' && method !== 'POST' && method !== 'PUT') {
    return { status: 405, error: `ERR method ${method} is not allowed, use GET or POST` };
  }
  if (kind === 'monitor' ? steps.length > 0 : steps.length === 0) {
    return bad(`wrong number of arguments for '${kind}' command`);
  }
  if (kind !== 'monitor') return subscriptionOf(kind, steps);
  if (scope !== 'read') return { kind };
  const error = "NOPERM this user has no permissions to run the 'monitor' command";
  return { status: 400, error };
}

function subscriptionOf(
  kind: 'subscribe' | 'psubscribe',
  steps: readonly string[],
): UpstashStream | UpstashRefusal {
  if (steps.length > limits.channelsPerStream) {
    return bad(`too many channels in one request: the limit is ${limits.channelsPerStream}`);
  }
  const names = steps.map((step) => textWithBytes(percentDecode(step)));
  for (const name of names) {
    if (kind === 'psubscribe' ? asksForNotifications(name) : isNotificationChannel(name)) {
      return bad(noNotifications);
    }
    const fault = channelFault(name);
    if (fault !== null) return bad(fault.detail);
    // However it is spelled, an address takes it for a step up, and would lead to another command of the region.
    if (/^\.{1,2}$/.test(name)) return bad('a URL cannot name the channel . or ..');
    // Each line of an event is looked at by itself, and the first one has to tell whose it is.
    if (/[\r\n]/.test(name)) return bad('a channel or pattern in a subscription is one line');
  }
  return { kind, names };
}

/** The path by which a region's own endpoint is asked for a stream. */
export function streamPath(kind: 'subscribe' | 'psubscribe', names: readonly string[]): string {
  return `/${[kind, ...names.map(percentEncode)].join('/')}`;
}

/**
 * True if clients may see a line of a region's stream, given without its `data: `: it belongs to one of the names that
 * they subscribed to, and is none of the messages that Lockstep keeps from them. Those are keyspace notifications, which
 * a region may send, and which match patterns such as `*`; and whatever is published in Lockstep's own channels.
 */
export function isShown(
  line: string,
  { kind, names }: Extract<UpstashStream, { names: readonly string[] }>,
): boolean {
  const given = names.map((name) => name.toWellFormed());
  if (given.some((name) => line.startsWith(`${kind},${name},`))) return true;
  const type = kind === 'subscribe' ? 'message' : 'pmessage';
  // One name may be the beginning of another, and a comma may be part of both: every channel that a line may name counts.
  const heads = given.map((name) => `${type},${name},`).filter((head) => line.startsWith(head));
  if (heads.length === 0) return false;
  return kind === 'subscribe' || !heads.some((head) => isWithheld(line.slice(head.length)));
}

function isWithheld(channel: string): boolean {
  return channel.startsWith(reservedPrefix) || isNotificationChannel(channel);
}

function percentEncode(name: string): string {
  return Array.from(bytesWithin(name), (character) =>
    /[\w.~-]/.test(character)
      ? character
      : `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('');
}

function bad(words: string): UpstashRefusal {
  return { status: 400, error: `ERR ${words}` };
}
