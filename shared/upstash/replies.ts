import { assert } from '../assert.ts';
import { bytesOfText, rawPartOf, textOfBytes } from '../commands/replies.ts';
import { encodeReply, isTagged, type RawReply } from '../contracts/reply.ts';

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

/** Reads the recorded outcome of a write without checks. Throws InvariantViolation if it is none. */
export function rawOutcomeOf(text: string): RawOutcome {
  const [tag, ...rest] = rawPartOf(text);
  if (tag === 0) return { kind: 'done', replies: rest };
  const [index, error] = rest;
  assert(tag === 2 && typeof index === 'number', 'a write without checks is done or has failed');
  assert(typeof error === 'string', 'a failed operation carries its error text');
  return { kind: 'failed', index, error: textOfBytes(error) };
}

/** The element of a command's reply. An error in its place is an element of its own kind. */
export function elementOf(reply: RawReply, command: readonly string[]): UpstashElement {
  if (isTagged(reply) && 'error' in reply) {
    return { error: textOfBytes(reply.error), status: 400 };
  }
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
  if (reply === 'OK' || (isTagged(reply) && 'status' in reply && reply.status === 'OK')) {
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
  return jsonText('status' in reply ? reply.status : reply.error, format);
}

function jsonText(bytes: string, format: 'json' | 'base64'): string {
  return format === 'base64' ? `"${btoa(bytes)}"` : JSON.stringify(textOfBytes(bytes));
}

/** RESP2, one character per byte. Regions tell one kind of nothing, and RESP2 has two. */
function respOf(reply: RawReply, { isNullArray }: { readonly isNullArray: boolean }): string {
  if (!isNullArray) return encodeReply(reply);
  if (reply === null) return '*-1\r\n';
  if (!Array.isArray(reply)) return encodeReply(reply);
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

/** The bytes of a body in which each character stands for one. */
export function bytesOf(body: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(body.length);
  for (let at = 0; at < body.length; at += 1) bytes[at] = body.charCodeAt(at);
  return bytes;
}
