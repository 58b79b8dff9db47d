import { limits } from '../limits.ts';

const lineEnd = /\r\n|\r|\n/;

/**
 * An event of server-sent events with `text` as its data. Clients of Upstash take each line that begins with `data: `
 * for a message of its own, so that further lines of a text come without that space: they see its first line, those that
 * know the format see all, and neither is told what nobody has published.
 */
export function eventText(text: string): string {
  const [first = '', ...more] = text.split(lineEnd);
  const further = more.map((line) => `data:${line.startsWith(' ') ? ' ' : ''}${line}\n`);
  return `data: ${first}\n${further.join('')}\n`;
}

/** Passes on the lines of a stream of events whose first line `isShown` takes, and no comments. */
export class EventLines {
  readonly #isShown: (text: string) => boolean;
  readonly #decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
  #rest = '';
  /** True while the event that is passed on may have further lines. */
  #isOpen = false;

  constructor(isShown: (text: string) => boolean) {
    this.#isShown = isShown;
  }

  /** What goes on of `chunk`, or null where a line is longer than anything that a client would take. */
  pass(chunk: Uint8Array): string | null {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    // A line feed behind it may be still to come.
    const whole = text.endsWith('\r') ? text.slice(0, -1) : text;
    const lines = whole.split(lineEnd);
    const unfinished = lines.pop() ?? '';
    this.#rest = unfinished + text.slice(whole.length);
    if (this.#rest.length > limits.streamLineCharacters) return null;
    return lines.map((line) => this.#pass(line)).join('');
  }

  #pass(line: string): string {
    // With a second space it is a further line that begins with one.
    if (/^data: (?! )/.test(line)) {
      // Not every server ends its events before it begins the next.
      const end = this.#isOpen ? '\n' : '';
      this.#isOpen = this.#isShown(line.slice('data: '.length));
      return this.#isOpen ? `${end}${line}\n` : end;
    }
    const isPart = line === '' || line.startsWith('data:');
    if (!this.#isOpen || !isPart) return '';
    if (line === '') this.#isOpen = false;
    return `${line}\n`;
  }
}
