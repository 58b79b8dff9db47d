import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytesOfText,
  charactersOf,
  codesOf,
  exactTextOf,
  textOfBytes,
  utf8Length,
} from '../../shared/contracts/bytes.ts';

const text = fc.string({ unit: 'binary' });
const bytes = fc.uint8Array().map((codes) => String.fromCharCode(...codes));

/** Bytes that are not valid UTF-8, and the text that shows them. */
const invalid: readonly (readonly [string, string])[] = [
  ['\xff', '\ufffd'],
  ['a\x80b', 'a\ufffdb'],
  // The beginning of a character of three bytes.
  ['\xe2\x82', '\ufffd'],
  // An overlong form, a surrogate, and a character beyond the last one.
  ['\xc0\xaf', '\ufffd\ufffd'],
  ['\xed\xa0\x80', '\ufffd\ufffd\ufffd'],
  ['\xf4\x90\x80\x80', '\ufffd\ufffd\ufffd\ufffd'],
];

describe('bytes as a string with one character per byte', () => {
  it('are the UTF-8 of a text, which both ways of decoding give back', () => {
    fc.assert(
      fc.property(text, (original) => {
        const encoded = bytesOfText(original);
        expect(codesOf(encoded)).toEqual(new TextEncoder().encode(original));
        expect(textOfBytes(encoded)).toBe(original);
        expect(exactTextOf(encoded)).toBe(original);
        expect(utf8Length(original)).toBe(encoded.length);
      }),
    );
  });

  it.each(['', 'plain', 'ü', '\ufeffa', '日本語', '\u{1f642}', '\0\x7f\x80'])(
    'keep every character of %j, a byte order mark included',
    (original) => {
      expect(textOfBytes(bytesOfText(original))).toBe(original);
      expect(exactTextOf(bytesOfText(original))).toBe(original);
    },
  );

  it.each(invalid)('%j, which is not UTF-8, shows U+FFFD and has no exact text', (raw, shown) => {
    expect(textOfBytes(raw)).toBe(shown);
    expect(exactTextOf(raw)).toBeNull();
  });

  it('have an exact text only if it encodes to the same bytes', () => {
    fc.assert(
      fc.property(bytes, (raw) => {
        const exact = exactTextOf(raw);
        expect(exact === null || bytesOfText(exact) === raw).toBe(true);
        expect(exact === null).toBe(bytesOfText(textOfBytes(raw)) !== raw);
      }),
    );
  });

  it('survive the way through an array of codes, however long', () => {
    const long = '\xe2\x82\xac\xff'.repeat(10_000);
    expect(charactersOf(codesOf(long))).toBe(long);
  });

  it('hold U+FFFD for a lone surrogate, which UTF-8 cannot hold', () => {
    expect(bytesOfText('a\ud800b')).toBe('a\xef\xbf\xbdb');
  });

  it('count an escape for a byte that is not UTF-8 as one byte', () => {
    expect(utf8Length('ü\udcff\udc80')).toBe(4);
    expect(utf8Length('ü\udcff'.repeat(5_000))).toBe(15_000);
    expect(utf8Length('ü'.repeat(5_000))).toBe(10_000);
  });
});
