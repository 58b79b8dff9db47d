import type { Bytes } from '../../contracts/bytes.ts';

/** The UTF-8 of `text`, one character per byte. `text` has no lone surrogates: keys are checked for them. */
export function bytesOfText(text: string): Bytes {
  if (isAscii(text)) return text;
  return encodeURIComponent(text).replaceAll(/%([0-9A-F]{2})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
}

/** The text whose UTF-8 is `bytes`, or null if they are no UTF-8: such a key was not written by Lockstep. */
export function textOfBytes(bytes: Bytes): string | null {
  if (isAscii(bytes)) return bytes;
  const escaped = Array.from(
    bytes,
    (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  try {
    return decodeURIComponent(escaped.join(''));
  } catch {
    return null;
  }
}

function isAscii(text: string): boolean {
  return /^[\0-\x7f]*$/.test(text);
}

/**
 * The number of bytes that a text takes in UTF-8. A byte that is no UTF-8 stands in it as half a character
 * (raw-bytes.ts), and counts as the one that it is.
 */
export function bytesInUtf8(text: string): number {
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
