/** Parses requests for streams, and filters the messages of regions' streams. */
import { asksForNotifications, channelFault, isNotificationChannel } from '../commands/keys.ts';
import { bytesWithin, textWithBytes } from '../commands/raw-bytes.ts';
import type { Scope } from '../config/configuration.ts';
import { limits } from '../limits.ts';
import { reservedPrefix } from '../reserved-keys.ts';
import { percentDecode, type UpstashRefusal } from './request.ts';

/** A stream of server-sent events that clients may open. */
export type UpstashStream =
  | { readonly kind: 'subscribe' | 'psubscribe'; readonly names: readonly string[] }
  | { readonly kind: 'monitor' };

/** The refusal of a subscription to keyspace notifications. */
const noNotifications =
  'keyspace notifications are not available: a region sends them for the commands with which Lockstep applies a ' +
  'write, not for the commands of the write itself; use /v1/changes or a webhook to follow committed writes';

/**
 * The stream that a URL asks for, the refusal, or null if it asks for none. Bodies are ignored: the SDK of Upstash
 * sends an empty array.
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
    // Every spelling of these in a URL means a step up, which would lead to another command of the region.
    if (/^\.{1,2}$/.test(name)) return bad('a URL cannot name the channel . or ..');
    // Each line of an event is filtered separately, so the first one must contain the whole name.
    if (/[\r\n]/.test(name)) return bad('a channel or pattern in a subscription is one line');
  }
  return { kind, names };
}

/** The path of a stream at a region's own endpoint. */
export function streamPath(kind: 'subscribe' | 'psubscribe', names: readonly string[]): string {
  return `/${[kind, ...names.map(percentEncode)].join('/')}`;
}

/**
 * True if clients may see a line of a region's stream, given without its `data: `: it belongs to a name that they
 * subscribed to, and is neither a keyspace notification (which a region may send, and which patterns such as `*` match)
 * nor a message on a channel of Lockstep's own.
 */
export function isShown(
  line: string,
  { kind, names }: Extract<UpstashStream, { names: readonly string[] }>,
): boolean {
  const given = names.map((name) => name.toWellFormed());
  if (given.some((name) => line.startsWith(`${kind},${name},`))) return true;
  const type = kind === 'subscribe' ? 'message' : 'pmessage';
  // A name may be the start of another, and both may contain commas, so every channel that the line may name is
  // checked.
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
