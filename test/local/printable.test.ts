/** Tests that no text from outside can control the terminal. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { drawDiagnosis } from '../../local/pages/doctor-table.ts';
import { printable, printableLines } from '../../local/pages/printable.ts';
import { lineOf } from '../../local/playground/receiver.ts';
import { Screen } from '../../local/playground/screen.ts';
import { paintFor } from '../../local/playground/timeline.ts';
import { statusLine, writeText } from '../../local/playground/view.ts';

/** Clears the screen, retitles the window, goes up a line, turns the text around, and ends the line. */
const hostile = 'k\u001b[2J\u001b]0;title\u0007\u001b[1A\r\n\u009b31m\u202etxt\u0000\u007f';
const raw = /[^\P{Cc}\n]|[\u202a-\u202e\u2066-\u2069]/u;
const plain = paintFor(false);

describe('a text from outside', () => {
  it('keeps printable characters, and escapes each control character', () => {
    expect(printable('Grüße, 漢字 😀')).toBe('Grüße, 漢字 😀');
    expect(printable('a\nb\r\u001b[31m\u0085')).toBe('a\\nb\\r\\x1b[31m\\x85');
    expect(printable('\u202e')).toBe('\\u202e');
  });

  it('never contains a control character, for any input', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(
        text,
        (hostileText) => void expect(printable(hostileText)).not.toMatch(/\p{Cc}/u),
      ),
    );
  });

  it.each([
    ['the answer to a write', writeText('k', { status: 503, body: { detail: hostile }, ms: 1 })],
    ['the result of a write', writeText('k', { status: 200, body: { results: [hostile] }, ms: 1 })],
    [
      'a confirmation',
      lineOf({
        type: 'write.committed',
        timestamp: '2026-11-30T12:00:00.000Z',
        data: { keys: [hostile], regions: { [hostile]: 1 }, reason: hostile },
      }),
    ],
    [
      'the state of a region',
      statusLine(
        {
          number: 1,
          id: 'us-east-1',
          isChosen: false,
          condition: 'running',
          line: { reach: 'whole', slowMs: 0 },
          report: {
            id: 'us-east-1',
            health: 'silent',
            detail: hostile,
            roundTripMs: null,
            unacknowledged: null,
          },
        },
        plain,
      ),
    ],
    [
      'a diagnosis',
      drawDiagnosis(
        {
          verdict: 'problem',
          deployment: [{ name: 'x', status: 'problem', found: hostile, advice: hostile }],
          regions: [{ id: hostile, host: hostile, checks: [] }],
        },
        80,
        plain,
      ).join('\n'),
    ],
  ])('reaches no terminal raw in %s', (_where, line) => {
    expect(line).not.toMatch(raw);
    expect(line).toContain('\\x1b');
  });
});

describe('a screen', () => {
  it('lets colours and line breaks through, and no other control sequence', () => {
    const written: string[] = [];
    const screen = new Screen({ isTTY: false, write: (text) => written.push(text) });
    screen.say(`${paintFor(true)('red', 'no')}\n\u001b[2J\u0007`);
    screen.show(['\u001b[1A']);
    expect(written.join('')).toBe('\u001b[31mno\u001b[0m\n\\x1b[2J\\x07\n\\x1b[1A\n');
    expect(printableLines('a\tb')).toBe('a\\tb');
  });
});
