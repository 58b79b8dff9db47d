/** Tests the text of server-sent events, and the filter for a region's stream. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventLines, eventText } from '../../shared/http/sse.ts';
import { limits } from '../../shared/limits.ts';

/** The data of each event that a standard client of server-sent events reads. */
function byTheBook(text: string): readonly string[] {
  const found: string[] = [];
  let data: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line === '' && data.length > 0) found.push(data.splice(0).join('\n'));
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  data = [];
  return found;
}

/** The data that the SDK of Upstash reads: each line of data by itself. */
function byTheSdk(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice(6));
}

const encoder = new TextEncoder();

function passed(lines: EventLines, chunks: readonly Uint8Array[]): string {
  return chunks.map((chunk) => lines.pass(chunk) ?? 'null').join('');
}

const nasty = fc
  .array(
    fc.oneof(
      fc.constantFrom('\n', '\r', '\r\n', 'data: ', 'data:', ' ', ':', 'message,a,forged', '\n\n'),
      fc.string({ unit: 'binary', maxLength: 4 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join('').toWellFormed());

describe('the text of an event', () => {
  it.each([
    ['one line', 'data: one line\n\n'],
    ['', 'data: \n\n'],
    ['a\nb\r\nc\rd', 'data: a\ndata:b\ndata:c\ndata:d\n\n'],
    ['a\n message,b,forged', 'data: a\ndata:  message,b,forged\n\n'],
    ['a\n\ndata: message,b,forged', 'data: a\ndata:\ndata:data: message,b,forged\n\n'],
  ])('of %j is %j', (text, expected) => {
    expect(eventText(text)).toBe(expected);
  });

  it('is one event to every client, with its line ends as line feeds', () => {
    fc.assert(
      fc.property(nasty, (tail) => {
        const text = `message,a,${tail}`;
        const lines = text.split(/\r\n|\r|\n/);
        expect(byTheBook(eventText(text))).toEqual([lines.join('\n')]);
        const [first, ...further] = byTheSdk(eventText(text));
        expect(first).toBe(lines[0]);
        for (const line of further) expect(line).toMatch(/^ /);
      }),
    );
  });
});

describe('the lines of a region', () => {
  it('pass unchanged, in chunks of any size, without hidden lines', () => {
    const texts = fc.array(fc.tuple(fc.boolean(), nasty), { maxLength: 5 });
    fc.assert(
      fc.property(texts, fc.infiniteStream(fc.integer({ min: 1, max: 7 })), (given, cuts) => {
        const events = given.map(([isShown, text]) => [isShown, eventText(`${isShown}${text}`)]);
        const bytes = encoder.encode(
          `: hello\n${events.map(([, text]) => text).join(': beat\n\n')}`,
        );
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; ) {
          const { value: length } = cuts.next();
          chunks.push(bytes.slice(at, at + length));
          at += length;
        }
        const lines = new EventLines((text) => text.startsWith('true'));
        const expected = events.filter(([isShown]) => isShown).map(([, text]) => text);
        expect(passed(lines, chunks)).toBe(expected.join(''));
      }),
    );
  });

  it('end an event if a server begins the next one without ending it', () => {
    const chunk = encoder.encode(
      'data: subscribe,a,1\ndata: message,a,x\ndata: no\ndata: message,a,y\n',
    );
    const lines = new EventLines((text) => text.startsWith('message'));
    expect(lines.pass(chunk)).toBe('data: message,a,x\n\ndata: message,a,y\n');
  });

  it('are given up if one of them has no end', () => {
    const lines = new EventLines(() => true);
    const half = encoder.encode('x'.repeat(limits.streamLineCharacters / 2));
    expect(lines.pass(half)).toBe('');
    expect(lines.pass(half)).toBe('');
    expect(lines.pass(encoder.encode('x'))).toBeNull();
  });
});
