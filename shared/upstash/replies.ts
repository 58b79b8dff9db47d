/** Writes replies in the formats of Upstash: JSON, JSON with base64, and RESP2. */
import { bytesOfText, textOfBytes } from '../contracts/bytes.ts';
import { encodeReply, isTagged, type RawReply } from '../contracts/reply.ts';

/** The reply or error of one command. `status` is the status of the response if the request has no other command. */
export type UpstashElement =
  | { readonly reply: RawReply; readonly isNullArray: boolean }
  | { readonly error: string; readonly status: number };

/** The format of a response, by its request's headers. */
export type UpstashFormat = 'json' | 'base64' | 'resp2';

/** The element of a command's reply; an error in place of the reply becomes an error element. */
export function elementOf(reply: RawReply, command: readonly string[]): UpstashElement {
  if (isTagged(reply) && 'error' in reply) {
    return { error: textOfBytes(reply.error), status: 400 };
  }
  return { reply, isNullArray: answersNullArray(command) };
}

/** The body of a response with one element. */
export function encodeElement(element: UpstashElement, format: UpstashFormat): string {
  if (format === 'resp2') {
    return 'error' in element ? respError(element.error) : respOf(element.reply, element);
  }
  if ('error' in element) return JSON.stringify({ error: element.error });
  const { reply } = element;
  // OK is never encoded. It is not valid base64, so clients cannot mistake it for encoded text.
  if (reply === 'OK' || (isTagged(reply) && 'status' in reply && reply.status === 'OK')) {
    return '{"result":"OK"}';
  }
  return `{"result":${jsonOf(reply, format)}}`;
}

/** The body of a response with several elements. */
export function encodeElements(elements: readonly UpstashElement[], format: UpstashFormat): string {
  const encoded = elements.map((element) => encodeElement(element, format));
  return format === 'resp2' ? encoded.join('') : `[${encoded.join(',')}]`;
}

function jsonOf(reply: RawReply, format: 'json' | 'base64'): string {
  if (reply === null) return 'null';
  // Writes every digit: a bigint may not fit a number.
  if (typeof reply === 'number' || typeof reply === 'bigint') return reply.toString();
  if (typeof reply === 'string') return jsonText(reply, format);
  if (!isTagged(reply)) return `[${reply.map((item) => jsonOf(item, format)).join(',')}]`;
  return jsonText('status' in reply ? reply.status : reply.error, format);
}

function jsonText(bytes: string, format: 'json' | 'base64'): string {
  return format === 'base64' ? `"${btoa(bytes)}"` : JSON.stringify(textOfBytes(bytes));
}

/** RESP2, one character per byte. Regions report one kind of null; RESP2 has two. */
function respOf(reply: RawReply, { isNullArray }: { readonly isNullArray: boolean }): string {
  if (!isNullArray) return encodeReply(reply);
  if (reply === null) return '*-1\r\n';
  if (!Array.isArray(reply)) return encodeReply(reply);
  const items = reply.map((item) => respOf(item, { isNullArray }));
  return `*${items.length}\r\n${items.join('')}`;
}

/** Encodes the error as UTF-8, since its text is not from a region and so not in bytes. */
function respError(error: string): string {
  return `-${bytesOfText(error.replaceAll(/[\r\n]/g, ' '))}\r\n`;
}

/** True for commands whose null is RESP2's null array. Regions write both kinds of null alike. */
function answersNullArray([name = '', , count]: readonly string[]): boolean {
  const upper = name.toUpperCase();
  if (upper === 'LPOP' || upper === 'RPOP') return count !== undefined;
  return ['GEOPOS', 'LMPOP', 'XREAD', 'XREADGROUP', 'ZMPOP'].includes(upper);
}

/** The bytes of a body that has one character per byte. */
export function bytesOf(body: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(body.length);
  for (let at = 0; at < body.length; at += 1) bytes[at] = body.charCodeAt(at);
  return bytes;
}
