import { assert } from '../assert.ts';
import type { Bytes } from './bytes.ts';

/**
 * A reply of a region, without loss: strings have one character per byte (U+0000 to U+00FF), and an integer that a
 * number does not hold exactly is a bigint.
 */
export type RawReply =
  | null
  | Bytes
  | number
  | bigint
  | { readonly status: Bytes }
  | { readonly error: Bytes }
  | readonly RawReply[];

/** How deeply arrays may be nested in a text that is read; regions answer less. */
const depthMaximum = 1_000;

/** True for a status or an error, the two tagged kinds of {@link RawReply}. */
export function isTagged(
  reply: RawReply,
): reply is { readonly status: Bytes } | { readonly error: Bytes } {
  return typeof reply === 'object' && reply !== null && !Array.isArray(reply);
}

/**
 * The reply as RESP2, one character per byte. Equal replies have equal texts, and the text is as long as the bytes of
 * the reply plus a few per item, for any bytes.
 */
export function encodeReply(reply: RawReply): Bytes {
  const pieces: string[] = [];
  append(reply, pieces);
  return pieces.join('');
}

/** Reads a text of {@link encodeReply}. Throws InvariantViolation for any other text. */
export function decodeReply(text: Bytes): RawReply {
  const [reply, end] = replyAt(text, 0, 0);
  assert(end === text.length, 'a reply ends where its text ends');
  return reply;
}

/** The first item of an encoded array, without reading the others. Throws InvariantViolation if there is none. */
export function firstItemOf(text: Bytes): RawReply {
  const lineEnd = text.indexOf('\r\n');
  assert(text[0] === '*' && lengthOf(text.slice(1, lineEnd)) > 0, 'an array has a first item');
  return replyAt(text, lineEnd + 2, 1)[0];
}

/** The integer that the digits spell: a number if that holds it exactly. */
export function integerOf(digits: string): number | bigint {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}

function append(reply: RawReply, pieces: string[]): void {
  if (reply === null) pieces.push('$-1\r\n');
  else if (typeof reply === 'string') pieces.push(`$${reply.length}\r\n`, reply, '\r\n');
  else if (typeof reply === 'number' || typeof reply === 'bigint') pieces.push(`:${reply}\r\n`);
  else if (isTagged(reply)) {
    const [mark, text] = 'status' in reply ? ['+', reply.status] : ['-', reply.error];
    // These two end at a line's end, which Redis never puts into them.
    pieces.push(mark, text.replaceAll(/[\r\n]/g, ' '), '\r\n');
  } else {
    pieces.push(`*${reply.length}\r\n`);
    for (const item of reply) append(item, pieces);
  }
}

function replyAt(text: Bytes, at: number, depth: number): readonly [RawReply, number] {
  const lineEnd = text.indexOf('\r\n', at);
  assert(lineEnd > at && depth <= depthMaximum, 'a reply begins with a line');
  const line = text.slice(at + 1, lineEnd);
  const next = lineEnd + 2;
  switch (text[at]) {
    case '+':
      return [{ status: line }, next];
    case '-':
      return [{ error: line }, next];
    case ':':
      return [integerOf(line), next];
    case '$':
      return line === '-1' ? [null, next] : stringAt(text, next, lengthOf(line));
    default:
      assert(text[at] === '*', 'a reply has one of five kinds');
      return itemsAt(text, next, lengthOf(line), depth);
  }
}

function stringAt(text: Bytes, at: number, length: number): readonly [Bytes, number] {
  const end = at + length;
  assert(text.startsWith('\r\n', end), 'a string has the length that it says');
  return [text.slice(at, end), end + 2];
}

function itemsAt(
  text: Bytes,
  first: number,
  count: number,
  depth: number,
): readonly [RawReply, number] {
  const items: RawReply[] = [];
  let at = first;
  for (let index = 0; index < count; index += 1) {
    const [item, next] = replyAt(text, at, depth + 1);
    items.push(item);
    at = next;
  }
  return [items, at];
}

function lengthOf(digits: string): number {
  assert(/^\d{1,9}$/.test(digits), 'a length is a number');
  return Number(digits);
}
