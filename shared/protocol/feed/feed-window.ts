import { assert } from '../../assert.ts';
import type { Change } from '../../contracts/webhooks-and-feed.ts';
import { limits } from '../../limits.ts';
import { type Chunk, type Filter, type Follower, isWanted } from './follower.ts';

/** A change as the text that clients get, with its values or without. */
export type TextOf = (change: Change, values: boolean) => string;

/** The changes for a follower at its cursor: messages of bounded size, and its cursor after the last one. */
export interface ChunkBatch {
  readonly chunks: readonly Chunk[];
  /** Every change up to it was looked at, even if the filter drops the last ones. */
  readonly upTo: number;
}

/** A change and its texts, each of which is made once, for the first follower that needs it. */
interface KeptChange {
  readonly change: Change;
  readonly size: number;
  bare: string | null;
  full: string | null;
}

/** The newest published changes, contiguous: those after `keptAfter` up to `head`. */
export class FeedWindow {
  readonly #textOf: TextOf;
  #kept: KeptChange[] = [];
  #size = 0;
  #head = 0;

  constructor(textOf: TextOf) {
    this.#textOf = textOf;
  }

  /** The newest sequence that was published; 0 if there is none. */
  get head(): number {
    return this.#head;
  }

  /** The sequence after which every published change is kept. */
  get keptAfter(): number {
    return this.#head - this.#kept.length;
  }

  /** True if all changes after `cursor` are in the window, and there are some. */
  reaches(cursor: number): boolean {
    return cursor >= this.keptAfter && cursor < this.#head;
  }

  /** Takes in changes and ignores known ones. Changes in a gap are in the coordinator's log, and not in the window. */
  publish(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.sequence <= this.#head) continue;
      if (change.sequence > this.#head + 1) this.#empty();
      const size = sizeOf(change);
      this.#kept.push({ change, size, bare: null, full: null });
      this.#size += size;
      this.#head = change.sequence;
    }
  }

  /** The changes in the window for a follower whose cursor it reaches. */
  chunksFor(follower: Follower): ChunkBatch {
    assert(this.reaches(follower.next), 'the changes after the cursor are in the window');
    const kept = this.#kept.slice(follower.next - this.keptAfter);
    const wanted = kept.filter(({ change }) => isWanted(follower, change));
    return cut(wanted, follower, this.#head, this.#textOf);
  }

  /** Drops the oldest beyond the bounds. The newest stay for followers that come back soon. */
  trim(): void {
    let surplus = 0;
    let size = this.#size;
    for (const kept of this.#kept) {
      const isWithin =
        size <= limits.feedKeptBytes && this.#kept.length - surplus <= limits.feedKeptChanges;
      if (isWithin) break;
      surplus += 1;
      size -= kept.size;
    }
    this.#kept.splice(0, surplus);
    this.#size = size;
  }

  #empty(): void {
    this.#kept = [];
    this.#size = 0;
  }
}

/** The changes of a page of the coordinator's log, for a follower with the filter of its request. */
export function chunksOfPage(
  page: { readonly changes: readonly Change[]; readonly next: number },
  filter: Filter,
  textOf: TextOf,
): ChunkBatch {
  const kept = page.changes.map((change) => ({ change, size: 0, bare: null, full: null }));
  return cut(kept, filter, page.next, textOf);
}

/** Puts changes into messages of bounded size. The last one stands for everything up to `upTo`. */
function cut(
  wanted: readonly KeptChange[],
  { values }: Filter,
  upTo: number,
  textOf: TextOf,
): ChunkBatch {
  const chunks: Chunk[] = [];
  let texts: string[] = [];
  let size = 0;
  let last = 0;
  const finish = (next: number) => {
    if (texts.length === 0) return;
    const text = `{"changes":[${texts.join(',')}],"next":${next}}`;
    chunks.push({ text, changes: texts.length, next });
    texts = [];
    size = 0;
  };
  for (const kept of wanted) {
    const text = textOfKept(kept, values, textOf);
    const isFull = texts.length === limits.changesPerPage;
    if (isFull || size + text.length > limits.feedMessageBytes) finish(last);
    texts.push(text);
    size += text.length;
    last = kept.change.sequence;
  }
  finish(upTo);
  return { chunks, upTo };
}

function textOfKept(kept: KeptChange, values: boolean, textOf: TextOf): string {
  if (values) {
    kept.full ??= textOf(kept.change, true);
    return kept.full;
  }
  kept.bare ??= textOf(kept.change, false);
  return kept.bare;
}

/** The approximate number of characters in a change; its texts take about as many again. */
export function sizeOf({ keys, commands = [], part = '', member }: Change): number {
  let size = part.length + (member?.detail.length ?? 0);
  for (const text of [...keys, ...commands.flat()]) size += text.length;
  return size;
}
