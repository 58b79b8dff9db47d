import { bytesOfText, charactersOf, codesOf } from '../contracts/bytes.ts';

/**
 * Arguments of commands are text that may contain bytes of invalid UTF-8: each such byte is represented by a lone
 * surrogate, U+DC80 for 0x80 up to U+DCFF for 0xFF, which valid UTF-8 cannot produce (as in Python's PEP 383).
 * encoding.ts sends them as JSON escapes, and the scripts of a region turn them back into bytes (base.lua).
 */
const escapeBase = 0xdc00;

const loneEscape = /[\udc80-\udcff]/gu;

const loneEscapes = /[\udc80-\udcff]+/gu;

/** Decodes UTF-8, with an escape per byte that is not valid UTF-8. */
export function textWithBytes(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return escaped(bytes);
  }
}

/** True if the text can be encoded: its only lone surrogates are escapes. */
export function hasBytes(text: string): boolean {
  return text.isWellFormed() || text.replaceAll(loneEscape, '').isWellFormed();
}

/** Encodes such a text, as a string with one character per byte. */
export function bytesWithin(text: string): string {
  if (text.isWellFormed()) return bytesOfText(text);
  const pieces: string[] = [];
  let from = 0;
  for (const { index, 0: run } of text.matchAll(loneEscapes)) {
    if (index > from) pieces.push(bytesOfText(text.slice(from, index)));
    // The low byte of an escape is the byte that it represents, because the low byte of escapeBase is 0.
    pieces.push(charactersOf(codesOf(run)));
    from = index + run.length;
  }
  pieces.push(bytesOfText(text.slice(from)));
  return pieces.join('');
}

function escaped(bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const pieces: string[] = [];
  let from = 0;
  let at = 0;
  while (at < bytes.length) {
    const length = sequenceLength(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    if (at > from) pieces.push(decoder.decode(bytes.subarray(from, at)));
    pieces.push(String.fromCharCode(escapeBase + (bytes[at] ?? 0)));
    at += 1;
    from = at;
  }
  pieces.push(decoder.decode(bytes.subarray(from)));
  return pieces.join('');
}

/** The length in bytes of the UTF-8 sequence at `at`; 0 if none begins there. Ranges: Unicode 15, table 3-7. */
function sequenceLength(bytes: Uint8Array, at: number): 0 | 1 | 2 | 3 | 4 {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const second = bytes[at + 1] ?? 0;
  if (first >= 0xc2 && first <= 0xdf) return isBetween(second, 0x80, 0xbf) ? 2 : 0;
  const third = isBetween(bytes[at + 2] ?? 0, 0x80, 0xbf);
  if (first >= 0xe0 && first <= 0xef) {
    // Excludes overlong forms and surrogates.
    const least = first === 0xe0 ? 0xa0 : 0x80;
    const most = first === 0xed ? 0x9f : 0xbf;
    return isBetween(second, least, most) && third ? 3 : 0;
  }
  if (first < 0xf0 || first > 0xf4) return 0;
  const least = first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xf4 ? 0x8f : 0xbf;
  const fourth = isBetween(bytes[at + 3] ?? 0, 0x80, 0xbf);
  return isBetween(second, least, most) && third && fourth ? 4 : 0;
}

function isBetween(byte: number, least: number, most: number): boolean {
  return byte >= least && byte <= most;
}
