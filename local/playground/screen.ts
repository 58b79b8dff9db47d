/** Prints lines above a panel that is redrawn in place. */
import { stripVTControlCharacters } from 'node:util';
import { printableLines } from '../pages/printable.ts';

/** The part of a terminal that a screen uses. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/**
 * Lines that scroll, above a panel of lines that are redrawn in place. If the output is not a terminal, changed lines
 * of the panel are printed like all others.
 */
export class Screen {
  private readonly terminal: Terminal;
  private panel: readonly string[] = [];

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** Prints one or more lines above the panel. */
  say(text: string): void {
    this.terminal.write(`${this.erasing()}${printableLines(text)}\n${this.drawing()}`);
  }

  /** Shows these lines as the panel. Does nothing if they are shown already. */
  show(given: readonly string[]): void {
    const lines = given.map(printableLines);
    const changed = lines.filter((line, index) => line !== this.panel[index]);
    if (changed.length === 0 && lines.length === this.panel.length) return;
    const erasing = this.erasing();
    this.panel = lines;
    if (this.isDrawn) this.terminal.write(`${erasing}${this.drawing()}`);
    else for (const line of changed) this.terminal.write(`${line}\n`);
  }

  /** Turns the panel into ordinary lines. */
  release(): void {
    this.panel = [];
  }

  /** True if the panel is redrawn in place. */
  get isDrawn(): boolean {
    return this.terminal.isTTY === true;
  }

  private erasing(): string {
    if (!this.isDrawn || this.panel.length === 0) return '';
    return `\u001b[${this.panel.length}A\r\u001b[J`;
  }

  private drawing(): string {
    if (!this.isDrawn) return '';
    // A line that wraps would make the panel higher than its number of lines. A terminal that does not know its width
    // reports 0 columns.
    const columns = this.terminal.columns || 80;
    return this.panel.map((line) => `${cut(line, columns)}\n`).join('');
  }
}

/** Cuts a line to fewer than `columns` characters. Colours have no width, and end with the line. */
function cut(line: string, columns: number): string {
  if ([...stripVTControlCharacters(line)].length < columns) return line;
  let left = columns - 2;
  const kept = [...line.matchAll(colourOrCharacter)].map(([piece]) => {
    if (piece.startsWith(escapeCode)) return piece;
    left -= 1;
    return left >= 0 ? piece : '';
  });
  return `${kept.join('')}…`;
}

const escapeCode = '\u001b';
const colourOrCharacter = new RegExp(`${escapeCode}\\[\\d+m|.`, 'gu');
