/** Tests the priority queue of a courier's batches. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LazyHeap } from '../../functions/courier/lazy-heap.ts';

interface Item {
  readonly number: number;
  key: number | null;
}

describe('a lazy heap', () => {
  it('has the item with the least present key first, then the oldest, however often keys change', () => {
    const changes = fc.array(
      fc.record({
        which: fc.nat(11),
        key: fc.option(fc.nat(50)),
        // Seldom, so that many entries become stale in between.
        looks: fc.nat(100).map((number) => number === 0),
      }),
      { minLength: 100, maxLength: 800, size: 'max' },
    );
    fc.assert(
      fc.property(changes, (all) => {
        const items: Item[] = Array.from({ length: 12 }, (_, number) => ({ number, key: null }));
        const heap = new LazyHeap<Item>(
          ({ key }) => key,
          (a, b) => a.number < b.number,
        );
        for (const { which, key, looks } of all) {
          const item = items[which];
          if (item === undefined) continue;
          item.key = key;
          heap.push(item, items.length);
          if (!looks) continue;
          const keyed = items.filter((one) => one.key !== null);
          const [first] = keyed.toSorted((a, b) => (a.key ?? 0) - (b.key ?? 0));
          expect(heap.first()).toBe(first ?? null);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('keeps a bounded number of entries for an item that changes again and again', () => {
    const item: Item = { number: 0, key: 0 };
    const keys: number[] = [];
    const heap = new LazyHeap<Item>(
      ({ key }) => {
        keys.push(key ?? 0);
        return key;
      },
      () => false,
    );
    for (let key = 100_000; key > 0; key -= 1) {
      item.key = key;
      heap.push(item, 1);
    }
    keys.length = 0;
    item.key = null;
    expect(heap.first()).toBeNull();
    expect(keys.length).toBeLessThan(100);
  });
});
