import type { Bytes } from './round.ts';

/** The UTF-8 of `text`, one character a byte. `text` has no lone surrogates: keys are checked for them. */
export function bytesOfText(text: string): Bytes {
  if (isAscii(text)) return text;
  return encodeURIComponent(text).replaceAll(/%([0-9A-F]{2})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
}

/** The text whose UTF-8 is `bytes`, or null where it is none: such a key was not written by Lockstep. */
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
