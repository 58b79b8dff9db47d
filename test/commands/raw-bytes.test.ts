/** Tests texts that encode bytes which are not valid UTF-8. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesWithin, hasBytes, textWithBytes } from '../../shared/commands/raw-bytes.ts';
import { utf8Length } from '../../shared/contracts/bytes.ts';

/** Bytes, some of them valid UTF-8 and some not, with halves of characters among them. */
const anyBytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.string({ unit: 'binary', maxLength: 3 }).map((text) => new TextEncoder().encode(text)),
      fc.constantFrom(
        Uint8Array.of(0xed, 0xa0, 0x80),
        Uint8Array.of(0xed, 0xb2, 0x80),
        Uint8Array.of(0xc0, 0x80),
        Uint8Array.of(0xf0, 0x9f, 0x98),
        Uint8Array.of(0xef, 0xbb, 0xbf),
        Uint8Array.of(0xf4, 0x90, 0x80, 0x80),
      ),
    ),
    { maxLength: 8 },
  )
  .map((parts) => Uint8Array.from(parts.flatMap((part) => [...part])));

describe('a text with bytes', () => {
  it('returns the bytes that it was made of, for any bytes', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = textWithBytes(bytes);
        expect(hasBytes(text)).toBe(true);
        expect(Buffer.from(bytesWithin(text), 'latin1')).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it('has the length of its bytes, which every limit of texts counts', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = textWithBytes(bytes);
        expect([utf8Length(text), utf8Length(text)]).toEqual([bytes.length, bytes.length]);
      }),
    );
  });

  it('is the text itself if the bytes are UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(textWithBytes(new TextEncoder().encode(text))).toBe(text);
      }),
    );
  });

  it('agrees with Node about the bytes that are valid UTF-8', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const replaced = textWithBytes(bytes).replaceAll(/[\udc80-\udcff]/gu, '');
        // Node sometimes replaces several bytes by one U+FFFD, so that only the other characters are compared.
        const decoded = Buffer.from(bytes).toString('utf8').replaceAll('\ufffd', '');
        expect(replaced.replaceAll('\ufffd', '')).toBe(decoded);
      }),
    );
  });

  it.each([
    ['the first half of a character', '\ud800', false],
    ['a second half that encodes no byte', '\udc00', false],
    ['a second half beyond the bytes', '\udd00', false],
    ['a whole character', '😀', true],
    ['a whole character before a byte', '😀\udc80', true],
    ['the last byte', '\udcff', true],
  ])('with %s has bytes: %s %s', (_name, text, expected) => {
    expect(hasBytes(text)).toBe(expected);
  });
});
