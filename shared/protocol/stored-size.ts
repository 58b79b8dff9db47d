import { limits } from '../limits.ts';
import { bytesInUtf8 } from './bytes.ts';
import type { Decided } from './decision.ts';
import type { DecidedWrite } from './events.ts';

/** JSON spells a character in at most six bytes, as `\u0000`. */
const bytesPerCharacter = 6;

/**
 * True if a decision cannot be stored: the platform refuses rows that are too large, and with the row all that is stored
 * with it. Bounds at admission keep it from that; this is the last look before what they forgot ends everybody's writes.
 */
export function isTooLargeToStore({ storage, writes }: Decided): boolean {
  const { rowBytes } = limits;
  const together = storage.kind === 'commit' ? storage.keys : [];
  const characters = writes.map(charactersOf);
  const most = Math.max(sumOf(together), ...characters);
  // Nearly always: then nothing has to be spelled twice.
  if (most * bytesPerCharacter < rowBytes / 2) return false;
  const rows = writes.flatMap(({ record, keys, commands, callback }) => [
    [record],
    [keys, commands, callback],
  ]);
  return [[together], ...rows].some((values) => values.reduce(addBytes, 0) >= rowBytes / 1.01);
}

function charactersOf({ record, keys, commands }: DecidedWrite): number {
  const arguments_ = commands.reduce((sum, command) => sum + sumOf(command), 0);
  return Math.max(record.part.length, sumOf(keys) + arguments_);
}

function sumOf(texts: readonly string[]): number {
  return texts.reduce((sum, { length }) => sum + length + 1, 0);
}

function addBytes(sum: number, value: unknown): number {
  return sum + bytesInUtf8(JSON.stringify(value));
}
