/**
 * A priority queue whose entries may become stale. A changed item is pushed again, with its new key; entries that no
 * longer apply are skipped when they come to the top. So a change takes logarithmic time, and no search.
 */
export class LazyHeap<Item> {
  readonly #keyOf: (item: Item) => number | null;
  readonly #isBefore: (a: Item, b: Item) => boolean;
  #entries: { readonly key: number; readonly item: Item }[] = [];

  /**
   * `keyOf` is the present key of an item, null if it does not belong into the queue. `isBefore` orders items with
   * equal keys.
   */
  constructor(keyOf: (item: Item) => number | null, isBefore: (a: Item, b: Item) => boolean) {
    this.#keyOf = keyOf;
    this.#isBefore = isBefore;
  }

  /** Adds an item with its present key. `items` is the number of items there are: it bounds the stale entries. */
  push(item: Item, items: number): void {
    const key = this.#keyOf(item);
    if (key === null) return;
    if (this.#entries.length > 2 * items + 64) this.#dropStale();
    this.#entries.push({ key, item });
    this.#rise(this.#entries.length - 1);
  }

  /** The first item, or null. It stays in the queue. */
  first(): Item | null {
    for (;;) {
      const [top] = this.#entries;
      if (top === undefined) return null;
      if (this.#keyOf(top.item) === top.key) return top.item;
      this.#removeTop();
    }
  }

  #dropStale(): void {
    const items = new Set(this.#entries.map(({ item }) => item));
    this.#entries = [];
    for (const item of items) {
      const key = this.#keyOf(item);
      if (key === null) continue;
      this.#entries.push({ key, item });
      this.#rise(this.#entries.length - 1);
    }
  }

  #removeTop(): void {
    const last = this.#entries.pop();
    if (last === undefined || this.#entries.length === 0) return;
    this.#entries[0] = last;
    this.#sink();
  }

  #rise(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#comesBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(): void {
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.#entries.length) return;
      const right = left + 1;
      const hasRight = right < this.#entries.length;
      const child = hasRight && this.#comesBefore(right, left) ? right : left;
      if (!this.#comesBefore(child, at)) return;
      this.#swap(at, child);
      at = child;
    }
  }

  #comesBefore(one: number, other: number): boolean {
    const [a, b] = [this.#entries[one], this.#entries[other]];
    if (a === undefined || b === undefined) return false;
    return a.key === b.key ? this.#isBefore(a.item, b.item) : a.key < b.key;
  }

  #swap(one: number, other: number): void {
    const [a, b] = [this.#entries[one], this.#entries[other]];
    if (a === undefined || b === undefined) return;
    this.#entries[one] = b;
    this.#entries[other] = a;
  }
}
