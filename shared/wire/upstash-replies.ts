import { assert } from '../assert.ts';
import { bytesOfText, parseExact, textOfBytes } from './replies.ts';

/**
 * A reply as regions write it down (shared/protocol/round.ts, PartOutcomeTag): strings hold one character a byte, `s` is
 * a status, `e` an error.
 */
export type RawReply =
  | null
  | string
  | number
  | bigint
  | readonly RawReply[]
  | { readonly s: string }
  | { readonly e: string };

/** What one command came to. `status` is that of the answer where it was the only command. */
export type UpstashElement =
  | { readonly reply: RawReply; readonly isNullArray: boolean }
  | { readonly error: string; readonly status: number };

/** The form of an answer, as its request's headers choose it. */
export type UpstashFormat = 'json' | 'base64' | 'resp2';

/** What became of one write, with its replies as they came. */
export type RawOutcome =
  | { readonly kind: 'done'; readonly replies: readonly RawReply[] }
  /** Operation `index` failed, and so nothing was written. */
  | { readonly kind: 'failed'; readonly index: number; readonly error: string };

/** Reads one element of a yes vote's `outcomes`, of a write without checks. Throws InvariantViolation otherwise. */
export function rawOutcomeOf(text: string): RawOutcome {
  const part = parseExact(text);
  assert(Array.isArray(part), 'the outcome of a part is an array');
  const [tag, ...rest] = part;
  if (tag === 0) return { kind: 'done', replies: rest.map(rawReplyOf) };
  const [index, error] = rest;
  assert(tag === 2 && typeof index === 'number', 'a write without checks is done or has failed');
  assert(typeof error === 'string', 'a failed operation carries its error text');
  return { kind: 'failed', index, error: textOfBytes(error) };
}

/** A value of a region's JSON as a reply. Throws InvariantViolation where it is none. */
export function rawReplyOf(value: unknown): RawReply {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint') return value;
  if (Array.isArray(value)) return value.map(rawReplyOf);
  assert(typeof value === 'object', 'a reply is null, a number, a string, an array or tagged');
  if ('s' in value && typeof value.s === 'string') return { s: value.s };
  assert('e' in value && typeof value.e === 'string', 'a tagged reply is a status or an error');
  return { e: value.e };
}

/** The element of a command's reply. An error in its place is an element of its own kind. */
export function elementOf(reply: RawReply, command: readonly string[]): UpstashElement {
  if (isTagged(reply) && 'e' in reply) return { error: textOfBytes(reply.e), status: 400 };
  return { reply, isNullArray: answersNullArray(command) };
}

/** One element, as the body of an answer. */
export function encodeElement(element: UpstashElement, format: UpstashFormat): string {
  if (format === 'resp2') {
    return 'error' in element ? respError(element.error) : respOf(element.reply, element);
  }
  if ('error' in element) return JSON.stringify({ error: element.error });
  const { reply } = element;
  // Nothing in base64 reads OK, so it stays as it is, and a reader who decodes by hand is spared the step.
  if (reply === 'OK' || (isTagged(reply) && 's' in reply && reply.s === 'OK')) {
    return '{"result":"OK"}';
  }
  return `{"result":${jsonOf(reply, format)}}`;
}

/** All elements, as the body of an answer. */
export function encodeElements(elements: readonly UpstashElement[], format: UpstashFormat): string {
  const encoded = elements.map((element) => encodeElement(element, format));
  return format === 'resp2' ? encoded.join('') : `[${encoded.join(',')}]`;
}

function jsonOf(reply: RawReply, format: 'json' | 'base64'): string {
  if (reply === null) return 'null';
  // Digit by digit: no integer passes through a number that could not hold it.
  if (typeof reply === 'number' || typeof reply === 'bigint') return reply.toString();
  if (typeof reply === 'string') return jsonText(reply, format);
  if (!isTagged(reply)) return `[${reply.map((item) => jsonOf(item, format)).join(',')}]`;
  return jsonText('s' in reply ? reply.s : reply.e, format);
}

function jsonText(bytes: string, format: 'json' | 'base64'): string {
  return format === 'base64' ? `"${btoa(bytes)}"` : JSON.stringify(textOfBytes(bytes));
}

/** RESP2, one character a byte. */
function respOf(reply: RawReply, { isNullArray }: { readonly isNullArray: boolean }): string {
  if (reply === null) return isNullArray ? '*-1\r\n' : '$-1\r\n';
  if (typeof reply === 'number' || typeof reply === 'bigint') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`;
  if (isTagged(reply)) return 's' in reply ? `+${reply.s}\r\n` : `-${reply.e}\r\n`;
  const items = reply.map((item) => respOf(item, { isNullArray }));
  return `*${items.length}\r\n${items.join('')}`;
}

/** The error's text is not from a region, so it is spelled in bytes here. */
function respError(error: string): string {
  return `-${bytesOfText(error.replaceAll(/[\r\n]/g, ' '))}\r\n`;
}

/** Redis has two kinds of nothing, which regions write down alike: these commands answer that of an array only. */
function answersNullArray([name = '', , count]: readonly string[]): boolean {
  const upper = name.toUpperCase();
  if (upper === 'LPOP' || upper === 'RPOP') return count !== undefined;
  return ['GEOPOS', 'LMPOP', 'XREAD', 'XREADGROUP', 'ZMPOP'].includes(upper);
}

function isTagged(reply: RawReply): reply is { readonly s: string } | { readonly e: string } {
  return typeof reply === 'object' && reply !== null && !Array.isArray(reply);
}

/** The bytes of a body in which each character stands for one. */
export function bytesOf(body: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(body.length);
  for (let at = 0; at < body.length; at += 1) bytes[at] = body.charCodeAt(at);
  return bytes;
}
