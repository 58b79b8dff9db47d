import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvariantViolation } from '../../shared/assert.ts';
import { rawOutcomeOf } from '../../shared/commands/replies.ts';
import { decodeReply, encodeReply, type RawReply } from '../../shared/contracts/reply.ts';

const bytes = fc.uint8Array().map((values) => String.fromCharCode(...values));
const line = bytes.map((text) => text.replaceAll(/[\r\n]/g, '.'));

const replies = fc.letrec<{ reply: RawReply; items: RawReply[] }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constant(null),
    bytes,
    fc.maxSafeInteger(),
    line.map((status) => ({ status })),
    line.map((error) => ({ error })),
    tie('items'),
  ),
  items: fc.array(tie('reply')),
})).reply;

describe('the text of a reply', () => {
  it('gives the reply back, for any bytes and any nesting', () => {
    fc.assert(
      fc.property(replies, (reply) => {
        expect(decodeReply(encodeReply(reply))).toEqual(reply);
      }),
    );
  });

  it.each(['9223372036854775807', '-9223372036854775808', '9007199254740993'])(
    'keeps every digit of %s',
    (digits) => {
      expect(decodeReply(encodeReply(BigInt(digits)))).toBe(BigInt(digits));
    },
  );

  it('is as long as the bytes, and a few more per item, for text of every kind', () => {
    for (const character of ['a', '"', '\\', '\0', '\x1f', '\xe6', '\xff']) {
      expect(encodeReply([character.repeat(1_000), null, 7]).length).toBeLessThan(1_050);
    }
  });

  it.each(['', '$', '$5\r\nab\r\n', '*2\r\n:1\r\n', ':1\r\n:2\r\n', '$-2\r\n', '[0]', 'x\r\n'])(
    'is refused as the text %j',
    (text) => {
      expect(() => decodeReply(text)).toThrow(InvariantViolation);
    },
  );
});

describe('the recorded outcome of a part', () => {
  it('is read as release 0.1 recorded it, and as it is recorded now', () => {
    const recorded = '[0,{"s":"OK"},"\\u00e9",null,9007199254740993,[1,{"e":"ERR no"}]]';
    const outcome = [0, { status: 'OK' }, 'é', null, 9007199254740993n, [1, { error: 'ERR no' }]];
    const done = { kind: 'done', replies: outcome.slice(1) };
    expect(rawOutcomeOf(recorded)).toEqual(done);
    expect(rawOutcomeOf(encodeReply(outcome))).toEqual(done);
  });
});
