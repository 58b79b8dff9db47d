/** Closings come before what is counted, and that before openings, if they are at one place. */
export const Place = { closing: 0, counting: 1, opening: 2 } as const;
/** One of them: the order at one place. */
export type Place = (typeof Place)[keyof typeof Place];

/** What stands from one place of the text to another is replaced. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly place: Place;
  readonly text: string;
}

/** The text with all of its edits. */
export function applied(text: string, edits: readonly Edit[]): string {
  const ordered = edits.toSorted((a, b) => a.from - b.from || a.place - b.place);
  const pieces: string[] = [];
  let from = 0;
  for (const edit of ordered) {
    pieces.push(text.slice(from, edit.from), edit.text);
    from = edit.to;
  }
  return pieces.join('') + text.slice(from);
}

const space = /(?:[ \t\v\f\r\n]+|--\[(?<level>=*)\[[\s\S]*?\]\k<level>\]|--(?!\[=*\[)[^\r\n]*)*/y;

/** The place of the next token. */
export function skipSpace(text: string, from: number): number {
  space.lastIndex = from;
  return space.exec(text) === null ? from : space.lastIndex;
}
