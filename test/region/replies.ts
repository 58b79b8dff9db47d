/** The replies of the region model, their bytes and their order. */
import { assert } from '../../shared/assert.ts';
import { replyOfJson } from '../../shared/commands/replies.ts';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { ReplySort } from '../../shared/contracts/frame.ts';
import {
  decodeReply,
  encodeReply as encodeResp,
  integerOf,
  isTagged,
  type RawReply,
} from '../../shared/contracts/reply.ts';

/** A reply of the model to a command. Strings have one character per byte. */
export type ModelReply = RawReply;

/** The UTF-8 of `text` with one character per byte. */
export function bytesOf(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text;
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join('');
}

/** The text whose UTF-8 is `bytes`, with one character per byte. */
export function textOf(bytes: string): string {
  if (/^[\0-\x7f]*$/.test(bytes)) return bytes;
  return new TextDecoder().decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
}

/** A JSON string as the region's scripts write it. */
export function quote(bytes: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters have to be escaped.
  const escaped = bytes.replaceAll(/[\0-\x1f"\\\x7f-\xff]/g, escapeOf);
  return `"${escaped}"`;
}

function escapeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** A reply as JSON, for people: `{"s":…}` is a status, `{"e":…}` an error. Release 0.1 recorded outcomes like this. */
export function encodeReply(reply: ModelReply): string {
  if (reply === null) return 'null';
  if (typeof reply === 'string') return quote(reply);
  if (typeof reply === 'number' || typeof reply === 'bigint') return String(reply);
  if (!isTagged(reply)) return `[${reply.map(encodeReply).join(',')}]`;
  return 'status' in reply ? `{"s":${quote(reply.status)}}` : `{"e":${quote(reply.error)}}`;
}

/** The outcome of a part, from its JSON. */
export function partOfJson(json: string): Bytes {
  return encodeResp(replyOfJson(json));
}

/** Outcomes of a vote, from the JSON of a list of them. */
export function outcomesOfJson(json: string): readonly Bytes[] {
  return itemsOfJson(json).map(encodeResp);
}

/** The outcomes of a vote as the JSON of a list. */
export function jsonOfOutcomes(outcomes: readonly Bytes[]): string {
  return encodeReply(outcomes.map(decodeReply));
}

/** Replies of a snapshot, from the JSON of a list of them. */
export function repliesOfJson(json: string): readonly RawReply[] {
  return itemsOfJson(json);
}

function itemsOfJson(json: string): readonly RawReply[] {
  const reply = replyOfJson(json);
  assert(Array.isArray(reply), 'a list of replies is a list');
  return reply;
}

/** Compares by bytes; each character is a byte. */
export function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Sorts an array of members by bytes. */
export function sortMembers(reply: ModelReply): ModelReply {
  return Array.isArray(reply) ? reply.map(String).sort(compareBytes) : reply;
}

/** Sorts a flat array of field and value by field. */
export function sortPairs(reply: ModelReply): ModelReply {
  if (!Array.isArray(reply)) return reply;
  const flat = reply.map(String);
  const pairs = flat.flatMap((field, index) =>
    index % 2 === 0 ? [[field, flat[index + 1] ?? ''] as const] : [],
  );
  return pairs.sort(([a], [b]) => compareBytes(a, b)).flat();
}

/** Draws `count` of the sorted `members`, as the scripts do from the same seed. */
export function drawMembers(members: readonly string[], count: number, seed: number): string[] {
  const left = [...members];
  const draw = drawerOf(seed);
  draw(1);
  const drawn: string[] = [];
  for (let index = 0; index < Math.min(count, left.length); index += 1) {
    const other = index + draw(left.length - index);
    const member = left[other] ?? '';
    left[other] = left[index] ?? '';
    left[index] = member;
    drawn.push(member);
  }
  return drawn;
}

function drawerOf(seed: number): (bound: number) => number {
  let state = (seed % 2147483645) + 1;
  return (bound) => {
    state = (state * 16807) % 2147483647;
    return Math.floor((state / 2147483647) * bound);
  };
}

/** The reply in the same order in every region, and with all its digits if these matter. */
export function replyInOrder(reply: ModelReply, order: ReplySort): ModelReply {
  if (order === 'members') return sortMembers(reply);
  if (order === 'pairs') return sortPairs(reply);
  // Lua's numbers are doubles; only replies that are requested as exact keep every digit.
  const isExact = order === 'exact' || order === 'exact-field';
  return isExact || typeof reply !== 'bigint' ? reply : integerOf(BigInt(Number(reply)).toString());
}
