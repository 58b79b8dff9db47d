import { stripVTControlCharacters } from 'node:util';
import { printableLines } from '../pages/printable.ts';

/** What a screen needs of a terminal. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/**
 * Lines that scroll, and below them a few that are drawn anew in their place. Where the output is no terminal nothing can
 * be drawn anew, and lines of the panel that have changed are written like all others.
 */
export class Screen {
  private readonly terminal: Terminal;
  private panel: readonly string[] = [];

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** Writes a line, or several, above the panel. */
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

  /** Leaves the panel where it is, as lines like all others. */
  release(): void {
    this.panel = [];
  }

  /** Whether the panel is drawn anew in its place. */
  get isDrawn(): boolean {
    return this.terminal.isTTY === true;
  }

  private erasing(): string {
    if (!this.isDrawn || this.panel.length === 0) return '';
    return `\u001b[${this.panel.length}A\r\u001b[J`;
  }

  private drawing(): string {
    if (!this.isDrawn) return '';
    // A line that is too long would take two, and the panel would no more be as high as it has lines.
    // A terminal that does not know its width says 0.
    const columns = this.terminal.columns || 80;
    return this.panel.map((line) => `${cut(line, columns)}\n`).join('');
  }
}

/** The line, of fewer than `columns` characters; colours take no room, and end with the line. */
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
