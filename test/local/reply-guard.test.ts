/** Tests the guard that replaces replies which are too deep or too large. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReplyGuard } from '../../local/gateway/reply-guard.ts';

/** Replies in RESP2, of every kind. */
const reply = fc.letrec<{ reply: string }>((tie) => ({
  reply: fc.oneof(
    { maxDepth: 6 },
    fc.constantFrom('+OK\r\n', '-ERR no\r\n', ':9223372036854775807\r\n', '$-1\r\n', '*-1\r\n'),
    fc.constantFrom('*0\r\n', '$0\r\n\r\n', '$4\r\n\r\n*9\r\n', `+${'x'.repeat(60)}\r\n`),
    fc.array(tie('reply'), { minLength: 1, maxLength: 4 }).map(arrayOf),
  ),
})).reply;

function arrayOf(items: readonly string[]): string {
  return `*${items.length}\r\n${items.join('')}`;
}

function nested(depth: number): string {
  return `${'*1\r\n'.repeat(depth)}:1\r\n`;
}

/** The output of a guard that gets the text in pieces of these lengths. */
function through(guard: ReplyGuard, text: string, lengths: readonly number[]): string {
  const passed: Buffer[] = [];
  let left = text;
  for (let index = 0; left !== ''; index += 1) {
    const length = lengths[index % lengths.length] ?? 1;
    passed.push(...guard.push(Buffer.from(left.slice(0, length), 'latin1')));
    left = left.slice(length);
  }
  return Buffer.concat(passed).toString('latin1');
}

const pieces = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });

describe('a guard of replies', () => {
  it('lets replies pass unchanged, in pieces of any size', () => {
    fc.assert(
      fc.property(fc.array(reply), pieces, (replies, lengths) => {
        expect(through(new ReplyGuard(), replies.join(''), lengths)).toBe(replies.join(''));
      }),
    );
  });

  it('replaces a reply that is nested too deeply by an error, and leaves the others unchanged', () => {
    const bounds = { depth: 10, bytes: 1_000_000 };
    fc.assert(
      fc.property(
        fc.array(reply),
        pieces,
        fc.integer({ min: 11, max: 99 }),
        (all, lengths, depth) => {
          const text = all.join('');
          const error = '-ERR the reply is nested deeper than 10 levels\r\n';
          const given = `${text}${nested(depth)}${text}`;
          expect(through(new ReplyGuard(bounds), given, lengths)).toBe(`${text}${error}${text}`);
        },
      ),
    );
    expect(through(new ReplyGuard(bounds), nested(10), [3])).toBe(nested(10));
  });

  it('does not recurse, so that no depth ends the process', () => {
    const text = through(new ReplyGuard(), `${nested(1_000_000)}+OK\r\n`, [65_536]);
    expect(text).toMatch(/^-ERR the reply is nested deeper.*\r\n\+OK\r\n$/s);
  });

  it('replaces a reply that is too large by an error', () => {
    const bounds = { depth: 10, bytes: 100 };
    const large = `$200\r\n${'x'.repeat(200)}\r\n`;
    const text = through(new ReplyGuard(bounds), `${large}+OK\r\n`, [50]);
    expect(text).toBe('-ERR the reply has more than 100 bytes\r\n+OK\r\n');
    const fits = `$80\r\n${'x'.repeat(80)}\r\n`;
    expect(through(new ReplyGuard(bounds), fits, [50])).toBe(fits);
  });
});
