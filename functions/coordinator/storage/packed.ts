/** Packs keys, commands and replies into bytes, and bytes into BLOBs. */
import { assert } from '../../../shared/assert.ts';
import { bytesWithin, textWithBytes } from '../../../shared/commands/raw-bytes.ts';
import { type Bytes, charactersOf, codesOf, isAscii } from '../../../shared/contracts/bytes.ts';

/**
 * The stored form of keys, commands and replies: their raw bytes. JSON would take six bytes for a control character, and
 * for a byte that is not valid UTF-8.
 *
 * A text is `<length>:<bytes>`, and texts follow each other. A command is `*<count>;` and its words; a word that is one
 * of the write's keys is `#<position>;` if that is shorter. stored-size.ts counts the bytes of this form.
 */

/** Packs texts. */
export function packTexts(texts: readonly string[]): Bytes {
  return texts.map(packedText).join('');
}

/** Unpacks the texts of {@link packTexts}. Throws InvariantViolation for any other bytes. */
export function unpackTexts(packed: Bytes): readonly string[] {
  const reader = new Reader(packed);
  const texts: string[] = [];
  while (!reader.isAtEnd) texts.push(reader.text());
  return texts;
}

/** Packs the commands of a write to `keys`. */
export function packCommands(
  commands: readonly (readonly string[])[],
  keys: readonly string[],
): Bytes {
  const positions = new Map(keys.map((key, position) => [key, `#${position};`]));
  const packed = commands.map((command) => {
    const words = command.map((word) => {
      const text = packedText(word);
      const named = positions.get(word) ?? text;
      return named.length < text.length ? named : text;
    });
    return `*${command.length};${words.join('')}`;
  });
  return packed.join('');
}

/** Unpacks the commands of {@link packCommands}, given the same keys. Throws InvariantViolation for any other bytes. */
export function unpackCommands(
  packed: Bytes,
  keys: readonly string[],
): readonly (readonly string[])[] {
  const reader = new Reader(packed);
  const commands: (readonly string[])[] = [];
  while (!reader.isAtEnd) {
    const count = reader.number('*', ';');
    const words: string[] = [];
    for (let index = 0; index < count; index += 1) words.push(reader.word(keys));
    commands.push(words);
  }
  return commands;
}

/** Packs values that are bytes already: each is `<length>:<bytes>`. */
export function packPieces(pieces: readonly Bytes[]): Bytes {
  return pieces.map((piece) => `${piece.length}:${piece}`).join('');
}

/** Unpacks the values of {@link packPieces}. Throws InvariantViolation for any other bytes. */
export function unpackPieces(packed: Bytes): readonly Bytes[] {
  const reader = new Reader(packed);
  const pieces: Bytes[] = [];
  while (!reader.isAtEnd) pieces.push(reader.piece());
  return pieces;
}

/** Converts a string with one character per byte to its bytes. */
export function packBytes(text: Bytes): ArrayBuffer {
  return codesOf(text).buffer;
}

/** Converts bytes to a string with one character per byte. */
export function unpackBytes(packed: ArrayBuffer): Bytes {
  return charactersOf(new Uint8Array(packed));
}

function packedText(text: string): Bytes {
  const bytes = bytesWithin(text);
  return `${bytes.length}:${bytes}`;
}

/** Reads a packed value from its beginning to its end. */
class Reader {
  readonly #packed: Bytes;
  #at = 0;

  constructor(packed: Bytes) {
    this.#packed = packed;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#packed.length;
  }

  /** Reads the number between `mark`, which must be next, and the following `end`. */
  number(mark: string, end: string): number {
    const first = this.#at + mark.length;
    const last = this.#packed.indexOf(end, first);
    const digits = this.#packed.slice(first, last);
    const isNumber = this.#packed.startsWith(mark, this.#at) && /^\d{1,9}$/.test(digits);
    assert(last > first && isNumber, 'a packed number stands between its marks');
    this.#at = last + end.length;
    return Number(digits);
  }

  piece(): Bytes {
    const length = this.number('', ':');
    const bytes = this.#packed.slice(this.#at, this.#at + length);
    assert(bytes.length === length, 'a packed text has the length that it says');
    this.#at += length;
    return bytes;
  }

  text(): string {
    const bytes = this.piece();
    if (isAscii(bytes)) return bytes;
    return textWithBytes(codesOf(bytes));
  }

  word(keys: readonly string[]): string {
    if (this.#packed[this.#at] !== '#') return this.text();
    const key = keys[this.number('#', ';')];
    assert(key !== undefined, 'a packed word names a key of its write');
    return key;
  }
}
