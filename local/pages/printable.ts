/**
 * Makes text safe for a terminal. Keys, errors and webhook payloads may contain control characters that move the
 * cursor, retitle the window or hide earlier output.
 */

/** C0 and C1 controls, DEL, and the characters that change the direction of text. */
const unprintable = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/** As {@link unprintable}, but first matches line breaks and this program's own colours, which are kept. */
const unprintableInLines = new RegExp(`\\n|\\u001b\\[\\d+m|${unprintable.source}`, 'gu');

/** Foreign text as one line: control characters become escapes, such as `\n` or `\x1b`. */
export function printable(text: string): string {
  return text.replaceAll(unprintable, escaped);
}

/** Lines of this program, with its colours. All other control characters become escapes. */
export function printableLines(text: string): string {
  return text.replaceAll(unprintableInLines, (found) =>
    found === '\n' || found.length > 1 ? found : escaped(found),
  );
}

const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  const hex = code.toString(16);
  return (
    named[character] ?? (code < 256 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`)
  );
}
