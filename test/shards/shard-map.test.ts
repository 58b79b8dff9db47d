import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { parseOwnership, parseShardMap } from '../../shared/shards/map-schema.ts';
import {
  initialMap,
  mapFault,
  ownerIn,
  ownershipIn,
  owns,
  ownsNothing,
  type ShardMap,
  shardOf,
  shardsIn,
  shardsOf,
} from '../../shared/shards/shard-map.ts';
import { defaultPlacement, slotCount, slotOf } from '../../shared/shards/slots.ts';

const counts = fc.integer({ min: 1, max: limits.shards });
const placement = defaultPlacement;

/** A map in which shard 3 owns the slots between two ranges of shard 1. */
const moved: ShardMap = {
  version: 7,
  shards: [
    {
      shard: 1,
      placement,
      ranges: [
        [0, 99],
        [200, slotCount - 1],
      ],
    },
    { shard: 3, placement, ranges: [[100, 199]] },
  ],
};

describe('the first map', () => {
  it('gives each slot one owner, and each shard as many slots as any other, but for one', () => {
    fc.assert(
      fc.property(counts, (count) => {
        const map = initialMap(count);
        expect(mapFault(map)).toBeNull();
        expect(map.version).toBe(1);
        const sizes = map.shards.map(({ ranges: [[first, last] = [0, -1]] }) => last - first + 1);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        expect(shardsIn(map)).toEqual(Array.from({ length: count }, (_, shard) => shard));
      }),
    );
  });

  it.each([0, limits.shards + 1, 1.5, Number.NaN])('is refused for %d shards', (count) => {
    expect(() => initialMap(count)).toThrow(`there are 1 to ${limits.shards} shards`);
  });

  it('is read as it was written', () => {
    fc.assert(
      fc.property(counts, (count) => {
        const map = initialMap(count);
        expect(parseShardMap(JSON.parse(JSON.stringify(map)))).toEqual({ ok: true, map });
      }),
    );
  });
});

describe('the shard of a key', () => {
  it('is the one that owns its slot', () => {
    fc.assert(
      fc.property(fc.string(), counts, (key, count) => {
        const map = initialMap(count);
        const shard = shardOf(key, map);
        expect(owns(ownershipIn(map, shard), [slotOf(key)])).toBe(true);
        for (const other of shardsIn(map).filter((one) => one !== shard)) {
          expect(owns(ownershipIn(map, other), [slotOf(key)])).toBe(false);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('may own several ranges', () => {
    const ownerOf = (number: number) => ownerIn(moved, { placement, number });
    expect([0, 99, 100, 199, 200, slotCount - 1].map(ownerOf)).toEqual([1, 1, 3, 3, 1, 1]);
  });
});

describe('the shards of a write', () => {
  const map = initialMap(3);
  const keyOf = (shard: number) => {
    for (let number = 0; ; number += 1) {
      if (shardOf(`key:${number}`, map) === shard) return `key:${number}`;
    }
  };

  it('begin with the shard of its first key, its home', () => {
    expect(shardsOf([keyOf(2), keyOf(0), keyOf(2)], map)).toEqual([2, 0]);
    expect(shardsOf([keyOf(1)], map)).toEqual([1]);
  });

  it('are the shard of slot 0 if it names no key, and all if it is about all keys', () => {
    expect(shardsOf([], map)).toEqual([0]);
    expect(shardsOf([everyKey], map)).toEqual([0, 1, 2]);
    expect(shardsOf([everyKey], moved)).toEqual([1, 3]);
  });

  it('are the only shard of a map, for any keys', () => {
    expect(shardsOf([keyOf(0), keyOf(2), everyKey], initialMap(1))).toEqual([0]);
  });
});

describe('the ownership of a shard', () => {
  it('is of nothing if the map does not list it', () => {
    const nothing = ownershipIn(moved, 2);
    expect(ownsNothing(nothing)).toBe(true);
    expect(owns(nothing, [slotOf('k')])).toBe(false);
    expect(ownsNothing(ownershipIn(moved, 3))).toBe(false);
  });

  it('is of all keys only if it is of every slot', () => {
    expect(owns(ownershipIn(initialMap(1), 0), 'all')).toBe(true);
    expect(owns(ownershipIn(moved, 1), 'all')).toBe(false);
  });

  it('is read from storage as it was stored, and in no other form', () => {
    const stored = ownershipIn(moved, 1);
    expect(parseOwnership(JSON.parse(JSON.stringify(stored)))).toEqual(stored);
    expect(() => parseOwnership({ version: 0, slots: [] })).toThrow('version');
  });
});

describe('a map that comes in', () => {
  const [one, three] = moved.shards;
  it.each<readonly [string, unknown]>([
    ['slot 100 has no owner', { ...moved, shards: [one] }],
    ['a shard is listed twice', { ...moved, shards: [one, three, { ...three, ranges: [] }] }],
    [
      'slot 150 has two owners',
      { ...moved, shards: [one, three, { ...three, shard: 4, ranges: [[150, 160]] }] },
    ],
    [
      'the range from 5 to 3 is empty',
      {
        ...moved,
        shards: [
          {
            ...one,
            ranges: [
              [0, 4],
              [5, 3],
            ],
          },
        ],
      },
    ],
    ['Too big', { ...moved, shards: [{ ...one, ranges: [[0, slotCount]] }] }],
    ['Invalid input', { ...moved, shards: [{ ...one, placement: 'other' }] }],
    ['Too small', { version: 1, shards: [] }],
    ['Invalid input', null],
  ])('is refused: %s', (fault, value) => {
    const parsed = parseShardMap(value);
    expect(parsed).toMatchObject({ ok: false, detail: expect.stringContaining(fault) });
  });
});
