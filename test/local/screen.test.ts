/** Tests the panel at the bottom of a terminal. */
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Screen } from '../../local/playground/screen.ts';

const escapeCode = '\u001b';

/**
 * A terminal of unlimited height. It supports only the sequences of a screen: going up a number of lines, and
 * clearing from there on.
 */
class FakeTerminal {
  readonly isTTY: boolean;
  readonly columns: number;
  raw = '';
  lines: string[] = [''];

  constructor(isTTY: boolean, columns = 40) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.raw += text;
    const up = new RegExp(`^${escapeCode}\\[(\\d+)A\\r${escapeCode}\\[J`).exec(text);
    const kept = this.lines.slice(0, this.lines.length - 1 - Number(up?.[1] ?? 0));
    const written = up === null ? text : text.slice(up[0].length);
    const last = up === null ? (this.lines.at(-1) ?? '') : '';
    this.lines = [...kept, ...stripVTControlCharacters(`${last}${written}`).split('\n')];
  }
}

describe('a screen', () => {
  it('keeps its panel below its messages', () => {
    const terminal = new FakeTerminal(true);
    const screen = new Screen(terminal);
    screen.say('first');
    screen.show(['one', 'two']);
    screen.say('second\nthird');
    expect(terminal.lines).toEqual(['first', 'second', 'third', 'one', 'two', '']);
    screen.show(['one', 'two, changed']);
    expect(terminal.lines).toEqual(['first', 'second', 'third', 'one', 'two, changed', '']);
  });

  it('writes nothing if the panel is unchanged', () => {
    const terminal = new FakeTerminal(true);
    const screen = new Screen(terminal);
    screen.show(['one']);
    const { raw } = terminal;
    screen.show(['one']);
    expect(terminal.raw).toBe(raw);
  });

  it('leaves the panel behind when it is released', () => {
    const terminal = new FakeTerminal(true);
    const screen = new Screen(terminal);
    screen.show(['one']);
    screen.release();
    screen.say('last');
    expect(terminal.lines).toEqual(['one', 'last', '']);
  });

  it('cuts a line of the panel that would take two, and keeps its colours', () => {
    const terminal = new FakeTerminal(true, 10);
    const red = `${escapeCode}[31m0123456789${escapeCode}[0m`;
    new Screen(terminal).show([red, '012345678']);
    expect(terminal.lines).toEqual(['01234567…', '012345678', '']);
    expect(terminal.raw).toContain(`${escapeCode}[31m01234567${escapeCode}[0m…`);
  });

  it('takes the default width if the terminal reports 0', () => {
    const terminal = new FakeTerminal(true, 0);
    new Screen(terminal).show(['x'.repeat(100)]);
    expect(terminal.lines[0]).toBe(`${'x'.repeat(78)}…`);
  });

  it('writes whole changed lines without control codes if it is not a terminal', () => {
    const file = new FakeTerminal(false, 10);
    const screen = new Screen(file);
    screen.show(['0123456789012', 'two']);
    screen.say('said');
    screen.show(['0123456789012', 'two, changed']);
    expect(file.raw).toBe('0123456789012\ntwo\nsaid\ntwo, changed\n');
  });
});
