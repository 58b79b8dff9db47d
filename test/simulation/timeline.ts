/** Virtual time: events happen in the order of their times, and of their planning if those are equal. */
export class Timeline {
  now = 1_000_000;
  #heap: { readonly at: number; readonly order: number; readonly run: () => void }[] = [];
  #planned = 0;

  /** Runs `run` after `delayMs`, rounded up to whole milliseconds, as clocks read. */
  after(delayMs: number, run: () => void): void {
    this.#planned += 1;
    const entry = { at: this.now + Math.max(0, Math.ceil(delayMs)), order: this.#planned, run };
    let index = this.#heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  /** Runs everything planned up to `until`, or to the end; throws if that takes more than `steps` events. */
  run(until: number, steps: number): void {
    for (let taken = 0; ; taken++) {
      const [first] = this.#heap;
      if (first === undefined || first.at > until) break;
      if (taken === steps)
        throw new Error(`still busy after ${steps} events: something runs in circles`);
      this.#pop();
      this.now = first.at;
      first.run();
    }
    this.now = Math.max(this.now, until);
  }

  /**
   * As {@link run}, for a simulation in which promises wait for events: after each event, while `isAwaited`, all its
   * continuations run before the next one, and none of them takes time.
   */
  async runAwaited(until: number, steps: number, isAwaited: () => boolean): Promise<void> {
    for (let taken = 0; ; taken++) {
      if (isAwaited()) await new Promise((resolve) => setImmediate(resolve));
      const [first] = this.#heap;
      if (first === undefined || first.at > until) break;
      if (taken === steps)
        throw new Error(`still busy after ${steps} events: something runs in circles`);
      this.#pop();
      this.now = first.at;
      first.run();
    }
    this.now = Math.max(this.now, until);
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    let index = 0;
    for (;;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2]) {
        if (child < this.#heap.length && this.#before(child, least)) least = child;
      }
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #before(a: number, b: number): boolean {
    const one = this.#heap[a];
    const other = this.#heap[b];
    if (one === undefined || other === undefined) return false;
    return one.at < other.at || (one.at === other.at && one.order < other.order);
  }

  #swap(a: number, b: number): void {
    const one = this.#heap[a];
    const other = this.#heap[b];
    if (one === undefined || other === undefined) return;
    this.#heap[a] = other;
    this.#heap[b] = one;
  }
}
