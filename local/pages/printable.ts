/**
 * Text for a terminal. A key, an error or a webhook's payload may hold control characters that move the cursor, retitle
 * the window or hide what was printed before; nothing of that may reach a terminal raw.
 */

/** C0 and C1 controls, DEL, and the characters that turn the direction of text around. */
const unprintable = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/** As {@link unprintable}; line breaks and the colours that this program sets itself are matched first, and kept. */
const unprintableInLines = new RegExp(`\\n|\\u001b\\[\\d+m|${unprintable.source}`, 'gu');

/** A text from outside on one line: each control character stands as its escape, e.g. `\n` or `\x1b`. */
export function printable(text: string): string {
  return text.replaceAll(unprintable, escaped);
}

/** Lines of this program's own, colours included; every other control character stands as its escape. */
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
