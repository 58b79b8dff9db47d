/** Restores the types of replies from the shape that a script sends beside them. */
import { assert } from '../../shared/assert.ts';
import type { ReplySort } from '../../shared/contracts/frame.ts';
import { integerOf, type RawReply } from '../../shared/contracts/reply.ts';

/**
 * A script sends the shape of its replies as a text, because a REST endpoint does not distinguish strings, statuses and
 * errors, and Lua has no integers beyond 2^53. A shape is a list of `<path><letter>`, one per reply that is not a plain
 * value. The path is the positions from the outermost array inwards, from 0, joined by dots; the letter is `s` for a
 * status, `e` for an error and `d` for the digits of an integer. base.lua writes it.
 */
const notePattern = /^(\d+(?:\.\d+)*)([sed])$/;

/** The approximate overhead of an item that is sent or stored, in bytes. base.lua counts the same. */
export const itemBytes = 12;

/** Applies `shape` to `reply`. Throws InvariantViolation if the two do not match. */
export function reshape(reply: RawReply, shape: string): RawReply {
  if (shape === '') return reply;
  let shaped = reply;
  for (const note of shape.split(' ')) {
    const [, path = '', letter = ''] = notePattern.exec(note) ?? [];
    assert(path !== '', 'a note of a shape is a path and a letter');
    shaped = replaced(shaped, path.split('.').map(Number), 0, letter);
  }
  return shaped;
}

/** The approximate size of a reply in bytes: its strings, plus an overhead per item. */
export function bytesOf(reply: RawReply): number {
  if (typeof reply === 'string') return reply.length + itemBytes;
  if (!Array.isArray(reply)) return 2 * itemBytes;
  const items: readonly RawReply[] = reply;
  return items.reduce<number>((sum, item) => sum + bytesOf(item), itemBytes);
}

/** Sorts the reply, if the order of its command is undefined, so that it is equal in every region. */
export function inOrder(reply: RawReply, order: ReplySort): RawReply {
  if (!Array.isArray(reply) || (order !== 'members' && order !== 'pairs')) return reply;
  const items: readonly RawReply[] = reply;
  if (order === 'members') return items.toSorted(compareBytes);
  const pairs: (readonly [RawReply, RawReply])[] = [];
  for (let at = 0; at < items.length; at += 2) {
    pairs.push([items[at] ?? null, items[at + 1] ?? null]);
  }
  return pairs.sort(([a], [b]) => compareBytes(a, b)).flat();
}

/** Each character is one byte. */
export function compareBytes(a: RawReply, b: RawReply): number {
  const [first, second] = [String(a), String(b)];
  if (first === second) return 0;
  return first < second ? -1 : 1;
}

/** Changes the arrays in place: the decoder created them, and no other code holds them. */
function replaced(
  reply: RawReply,
  path: readonly number[],
  depth: number,
  letter: string,
): RawReply {
  const place = path[depth];
  if (place === undefined) return tagged(reply, letter);
  assert(Array.isArray(reply) && place < reply.length, 'a note of a shape leads to a reply');
  const items: RawReply[] = reply;
  items[place] = replaced(items[place] ?? null, path, depth + 1, letter);
  return items;
}

function tagged(reply: RawReply, letter: string): RawReply {
  assert(typeof reply === 'string', 'what a note leads to is a text');
  if (letter === 's') return { status: reply };
  if (letter === 'e') return { error: reply };
  assert(/^-?\d{1,20}$/.test(reply), 'digits are those of an integer');
  return integerOf(reply);
}
