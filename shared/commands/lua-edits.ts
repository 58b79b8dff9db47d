/** Edits of a script's text by position, applied at once, so that lines keep their numbers. */
/** The order of edits at the same position: closings first, then counters, then openings. */
export const Place = { closing: 0, counting: 1, opening: 2 } as const;
/** One of these ranks. */
export type Place = (typeof Place)[keyof typeof Place];

/** Replaces the text between two positions. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly place: Place;
  readonly text: string;
}

/** Applies all edits to the text. */
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

/** The position of the next token. */
export function skipSpace(text: string, from: number): number {
  space.lastIndex = from;
  return space.exec(text) === null ? from : space.lastIndex;
}
