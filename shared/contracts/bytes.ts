/** The bytes of keys, values and replies, as strings with one character per byte, and their UTF-8. */

/**
 * Any bytes as text, with one character per byte (U+0000 to U+00FF): a key, a value, or a part of one. Copies and
 * replies use it because the data of a region need not be UTF-8.
 */
export type Bytes = string;

/** Every JavaScript engine accepts this many arguments in one call. */
const charactersAtOnce = 8_192;

/** From this length on, in characters, the encoder measures a text faster than a loop. */
const longText = 4_096;

const encoder = new TextEncoder();

// A byte order mark is kept: it is the value's own.
const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
const exactDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Encodes `text` in UTF-8. A lone surrogate becomes the bytes of U+FFFD; commands may hold escapes, see raw-bytes.ts.
 */
export function bytesOfText(text: string): Bytes {
  return isAscii(text) ? text : charactersOf(encoder.encode(text));
}

/** Decodes UTF-8 for display. Invalid bytes become U+FFFD, so different bytes may have the same text. */
export function textOfBytes(bytes: Bytes): string {
  return isAscii(bytes) ? bytes : decoder.decode(codesOf(bytes));
}

/** Decodes UTF-8 without loss; null if the bytes are not valid UTF-8. */
export function exactTextOf(bytes: Bytes): string | null {
  if (isAscii(bytes)) return bytes;
  try {
    return exactDecoder.decode(codesOf(bytes));
  } catch {
    return null;
  }
}

/** The bytes as a string with one character per byte. */
export function charactersOf(bytes: Uint8Array): Bytes {
  const pieces: string[] = [];
  for (let from = 0; from < bytes.length; from += charactersAtOnce) {
    // Spread arguments would be collected one by one, which takes five times as long.
    const piece: string = Reflect.apply(
      String.fromCharCode,
      null,
      bytes.subarray(from, from + charactersAtOnce),
    );
    pieces.push(piece);
  }
  return pieces.join('');
}

/** The bytes of a string with one character per byte. Of each character only the low byte counts. */
export function codesOf(text: Bytes): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/**
 * The size of `text` in UTF-8, in bytes. A lone second half of a surrogate pair is an escape for one byte that is not
 * valid UTF-8 (raw-bytes.ts), and counts as that byte.
 */
export function utf8Length(text: string): number {
  if (text.length >= longText && text.isWellFormed()) return encoder.encode(text).byteLength;
  if (isAscii(text)) return text.length;
  let bytes = text.length;
  let isPaired = false;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    const isFirst = unit >= 0xd800 && unit < 0xdc00;
    const isSecond = unit >= 0xdc00 && unit < 0xe000;
    // Each half of a surrogate pair stands for two of its four bytes.
    if (isFirst || (isSecond && isPaired)) bytes += 1;
    else if (unit >= 0x80 && !isSecond) bytes += unit >= 0x800 ? 2 : 1;
    isPaired = isFirst;
  }
  return bytes;
}

/** True if every character is one byte of UTF-8, so that the text is its own UTF-8. */
export function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole range of single-byte characters is meant.
  return /^[\x00-\x7f]*$/.test(text);
}
