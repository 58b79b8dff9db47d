/** The size of writes in storage, measured before they are staged and again before they are stored (rule R47). */

import { utf8Length } from '../../contracts/bytes.ts';
import { operationAt, type WriteFrame } from '../../contracts/frame.ts';
import { limits } from '../../limits.ts';
import { withoutChannels } from '../../reserved-keys.ts';
import type { DecidedWrite } from '../io/stored.ts';
import type { Decided } from './decision.ts';
import { commandOf } from './event-router.ts';

/** The most bytes that an item of a packed request takes besides its own; enough for a first estimate. */
const itemBytes = 10;

/**
 * The bytes that a write stores of its request, as packed.ts packs it: a text is `<length>:<bytes>`, a command begins with
 * `*<count>;`, and a word that is a key is `#<position>;` if that is shorter.
 */
export function storedRequestBytes({
  keys,
  commands,
  callback,
}: Pick<DecidedWrite, 'keys' | 'commands' | 'callback'>): number {
  const positions = new Map(keys.map((key, position) => [key, `#${position};`.length]));
  const ofWord = (word: string) =>
    Math.min(packedBytes(word), positions.get(word) ?? Number.POSITIVE_INFINITY);
  let bytes = callback === null ? 0 : utf8Length(JSON.stringify(callback));
  bytes += sumOf(keys, packedBytes);
  for (const command of commands) {
    bytes += `*${command.length};`.length + sumOf(command, ofWord);
  }
  return bytes;
}

/**
 * Why a request cannot be stored, in words for its sender; null if it can. It is measured before anything of it is
 * staged: its replies have a bound of their own.
 */
export function storageFault(frame: WriteFrame): string | null {
  const limit = limits.requestStoredBytes;
  const items = frame.operations.reduce((sum, { args }) => sum + args.length, frame.keys.length);
  // Nearly always: then the exact size does not matter.
  if (2 * frame.bytes + itemBytes * items + limits.recordBytes <= limit) return null;
  const bytes = storedRequestBytes({
    keys: withoutChannels(frame.keys),
    // The moment of an expiry may have more digits than a lifetime.
    commands: frame.operations.map((one) => commandOf(operationAt(one, limits.expiryMsMaximum))),
    callback: frame.callback,
  });
  if (bytes <= limit) return null;
  return `its keys and arguments take ${bytes} bytes as they are stored; the limit is ${limit}`;
}

/**
 * True if a decision cannot be stored: the platform refuses rows that are too large, and everything else in their
 * storage transaction with them. Bounds at admission prevent that; this check catches a case that they miss before it
 * ends the instance.
 */
export function isTooLargeToStore({ storage, writes }: Decided): boolean {
  const most = limits.rowBytes - limits.recordBytes;
  const together = storage.kind === 'commit' ? sumOf(storage.keys, packedBytes) : 0;
  return (
    together >= most ||
    writes.some((write) => write.record.part.length >= most || storedRequestBytes(write) >= most)
  );
}

/** The bytes that a decided write takes in storage. */
export function storedBytes(write: DecidedWrite): number {
  return write.record.part.length + storedRequestBytes(write);
}

function packedBytes(text: string): number {
  const bytes = utf8Length(text);
  return String(bytes).length + 1 + bytes;
}

function sumOf(texts: readonly string[], bytesOf: (text: string) => number): number {
  return texts.reduce((sum, text) => sum + bytesOf(text), 0);
}
