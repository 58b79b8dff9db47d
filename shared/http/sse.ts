/** Writes and filters the lines of server-sent events. */
import { limits } from '../limits.ts';

const lineEnd = /\r\n|\r|\n/;

/**
 * A server-sent event with `text` as its data. Upstash's clients treat each line that begins with `data: ` as a
 * message, so further lines of a text have no space after the colon. Those clients then see the first line only,
 * clients that follow the standard see all, and no client sees a message that nobody published.
 */
export function eventText(text: string): string {
  const [first = '', ...more] = text.split(lineEnd);
  const further = more.map((line) => `data:${line.startsWith(' ') ? ' ' : ''}${line}\n`);
  return `data: ${first}\n${further.join('')}\n`;
}

/** Passes on the events of a stream whose first line `isShown` accepts, without comments. */
export class EventLines {
  readonly #isShown: (text: string) => boolean;
  readonly #decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
  #rest = '';
  /** True if further lines belong to an event that is passed on. */
  #isOpen = false;

  constructor(isShown: (text: string) => boolean) {
    this.#isShown = isShown;
  }

  /** The text of `chunk` to pass on, or null if a line is longer than any client would accept. */
  pass(chunk: Uint8Array): string | null {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    // The line feed of this carriage return may be in the next chunk.
    const whole = text.endsWith('\r') ? text.slice(0, -1) : text;
    const lines = whole.split(lineEnd);
    const unfinished = lines.pop() ?? '';
    this.#rest = unfinished + text.slice(whole.length);
    if (this.#rest.length > limits.streamLineCharacters) return null;
    return lines.map((line) => this.#pass(line)).join('');
  }

  #pass(line: string): string {
    // Two spaces begin a further line whose text begins with a space.
    if (/^data: (?! )/.test(line)) {
      // Some servers begin an event before they have ended the previous one.
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
