/** Tests that JSON bodies and replies lose no digit and no character. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStrictJson } from '../../functions/edge/http/body.ts';
import { jsonText, parsePartOutcome, parseSnapshotReplies } from '../../shared/commands/replies.ts';
import { bytesOfText, textOfBytes } from '../../shared/contracts/bytes.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';

const text = fc.string({ unit: 'grapheme' });

/** JSON values that a double holds exactly, nested less deep than the limit. */
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(null, true, false),
    text,
    fc.maxSafeInteger().map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.integer({ min: -9_999, max: 9_999 }).map((number) => number / 8),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      text.filter((name) => name !== '__proto__'),
      tie('value'),
      {
        maxKeys: 4,
        noNullPrototype: true,
      },
    ),
  ),
})).value;

function parsed(json: string): unknown {
  return parseStrictJson(new TextEncoder().encode(json));
}

describe('a strict JSON body', () => {
  it('reads every value that a double holds exactly like JSON.parse', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 2), (original, indent) => {
        const json = JSON.stringify(original, null, indent);
        expect(parsed(json)).toEqual({ ok: true, value: JSON.parse(json) });
      }),
    );
  });

  it('refuses every integer that a double does not hold', () => {
    const beyond = fc.bigInt({ min: 2n ** 53n, max: 2n ** 70n });
    fc.assert(
      fc.property(beyond, fc.boolean(), (integer, isNegative) => {
        const json = `{"ops":[["SET","k",${isNegative ? -integer : integer}]]}`;
        expect(parsed(json)).toMatchObject({ ok: false, problem: { name: 'invalid-json' } });
      }),
    );
  });

  it('does not confuse the content of a string with JSON', () => {
    const tricky = '{"a":"{\\"a\\":1,\\"a\\":2} 9007199254740993 [[[[[[[[[[[","b":"\\\\","c":":"}';
    expect(parsed(tricky)).toEqual({ ok: true, value: JSON.parse(tricky) });
  });
});

describe('a reply', () => {
  it('keeps every digit of a 64-bit integer, and returns it as a string beyond 2^53', () => {
    const integer = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(fc.array(integer), (integers) => {
        const outcome = parsePartOutcome(`[0,[${integers.join(',')}]]`);
        const spelled = integers.map((each) =>
          -(2n ** 53n) < each && each < 2n ** 53n ? `${each}` : `"${each}"`,
        );
        expect(jsonText(outcome)).toBe(`{"kind":"done","results":[[${spelled.join(',')}]]}`);
      }),
    );
  });

  it('keeps every character of a text that is converted to bytes and back', () => {
    fc.assert(
      fc.property(text, (original) => {
        expect(textOfBytes(bytesOfText(original))).toBe(original);
        const replies = parseSnapshotReplies(encodeReply([bytesOfText(original)]), 1);
        expect(replies).toEqual([{ ok: true, reply: original, raw: bytesOfText(original) }]);
      }),
    );
  });

  it('returns a long number inside a string as a string', () => {
    expect(parsePartOutcome('[0,"9007199254740993"]')).toEqual({
      kind: 'done',
      results: ['9007199254740993'],
    });
  });

  it.each(['', '{}', '[', '[1]', '[{"x":1}]', '[true]', 'null'])(
    'of a snapshot with the text %j counts as malformed',
    (garbage) => {
      expect(parseSnapshotReplies(garbage, garbage === '[1]' ? 2 : 1)).toBeNull();
    },
  );
});
