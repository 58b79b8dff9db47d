/** Tests the comparison of regions and the plan of a repair against fake regions. */
import { beforeEach, describe, expect, it } from 'vitest';
import { planRepair } from '../../functions/edge/admin/repair.ts';
import type { ComparedRegion } from '../../functions/region/comparison.ts';
import {
  beginVerify,
  cursorOf,
  isVerified,
  progressOfCursor,
  type VerifyProgress,
  type VerifyScope,
  type VerifySlice,
  verifySlice,
} from '../../functions/region/verification.ts';
import { bytesOfText } from '../../shared/contracts/bytes.ts';
import type { Inspection, InspectionResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';

/** A region under inspection: digests and locks by key. */
class FakeRegion implements ComparedRegion {
  readonly id: string;
  readonly keys = new Map<string, string>();
  readonly locks = new Set<string>();
  readonly client = { inspect: async (_shard: number, asked: Inspection) => this.#answer(asked) };
  /** Runs before each inspection of keys. */
  before: () => void = () => {};
  isSilent = false;
  /** The largest number of keys per step of a scan. A server may return none before the end. */
  scanBrings = Number.POSITIVE_INFINITY;
  largestLook = 0;
  /** The largest number of keys per inspection: the size limit truncates the rest. */
  lookBrings = Number.POSITIVE_INFINITY;

  constructor(id: string) {
    this.id = id;
  }

  #answer(asked: Inspection): InspectionResult {
    if (this.isSilent) return { kind: 'silent', reason: 'no answer in time' };
    if (asked.kind === 'locks') throw new Error('no inspection of locks is expected');
    if (asked.kind === 'keys') {
      this.before();
      this.largestLook = Math.max(this.largestLook, asked.keys.length);
      const keys = asked.keys.slice(0, this.lookBrings).map((key) => ({
        key,
        digest: this.keys.get(key) ?? null,
        holder: this.locks.has(key) ? ([1, 1] as const) : null,
      }));
      return { kind: 'inspected', keys, cursor: null, more: false };
    }
    const all = [...this.keys.keys()];
    const from = Number(asked.cursor);
    const step = Math.max(1, Math.min(asked.count, this.scanBrings));
    const some = this.scanBrings === 0 ? [] : all.slice(from, from + step);
    // A scan may return a key twice.
    const keys = [...some, ...some.slice(0, 1)].map((key) => ({ key, digest: '', holder: null }));
    const to = from + step;
    return { kind: 'inspected', keys, cursor: to < all.length ? String(to) : null, more: false };
  }
}

let a: FakeRegion;
let b: FakeRegion;
let c: FakeRegion;
let pauses: number[];
let scope: VerifyScope;

beforeEach(() => {
  [a, b, c] = [new FakeRegion('a'), new FakeRegion('b'), new FakeRegion('c')];
  pauses = [];
  scope = {
    shard: 0,
    regions: [a, b, c],
    pause: async (ms) => void pauses.push(ms),
    now: () => 0,
  };
});

/** Sets the same value for each key in every region. */
function fill(...keys: readonly string[]): void {
  for (const key of keys) for (const region of [a, b, c]) region.keys.set(key, '1');
}

async function slice(from: VerifyProgress, limit: number, pauseMs = 0): Promise<VerifySlice> {
  const seen = await verifySlice(scope, from, { limit, pauseMs });
  if (!seen.ok) throw new Error(seen.fault.reason);
  return seen.value;
}

/** Verifies to the end, from cursor to cursor. */
async function verifyAll(limit = 1_000, prefix = '') {
  let progress: VerifyProgress | null = beginVerify(['a', 'b', 'c'], false, prefix);
  const differing: VerifySlice['differing'][number][] = [];
  const restless: string[] = [];
  let checked = 0;
  let calls = 0;
  while (progress !== null) {
    const found: VerifySlice = await slice(progress, limit);
    differing.push(...found.differing);
    restless.push(...found.restless);
    checked += found.checked;
    calls += 1;
    progress = isVerified(found.next) ? null : progressOfCursor(cursorOf(found.next));
    if (progress === null)
      expect(found.next).toMatchObject({ checked, differing: differing.length });
  }
  return { differing, restless, checked, calls };
}

describe('a verification', () => {
  it('of equal regions compares each key once, without pauses', async () => {
    fill('k1', 'k2', 'k3');
    const found = await verifyAll();
    expect(found).toEqual({ differing: [], restless: [], checked: 3, calls: 1 });
    expect(pauses).toEqual([]);
  });

  it('finds a key that differs, with its digest in every region', async () => {
    fill('k1', 'k2');
    b.keys.set('k2', '2');
    expect((await verifyAll()).differing).toEqual([
      { key: 'k2', digests: { a: '1', b: '2', c: '1' } },
    ]);
  });

  it.each(['a', 'b', 'c'])('finds a key that exists only in %s', async (id) => {
    fill('k1');
    for (const region of [a, b, c]) if (region.id === id) region.keys.set('alone', '1');
    const { differing, checked } = await verifyAll();
    expect(differing).toMatchObject([{ key: 'alone', digests: { [id]: '1' } }]);
    expect(checked).toBe(2);
  });

  it('finds the same in slices of any size, each key once', async () => {
    fill(...Array.from({ length: 20 }, (_, index) => `k${index}`));
    b.keys.set('k7', '2');
    c.keys.set('alone', '1');
    for (const limit of [1, 2, 7, 20, 1_000]) {
      const { differing, checked } = await verifyAll(limit);
      expect(differing.map(({ key }) => key)).toEqual(['k7', 'alone']);
      expect(checked).toBe(21);
    }
  });

  it('inspects no more keys at once than its limit', async () => {
    fill(...Array.from({ length: limits.verifyKeysPerLook * 2 + 3 }, (_, index) => `k${index}`));
    await verifyAll(limits.verifyKeysMaximum);
    for (const region of [a, b, c]) expect(region.largestLook).toBe(limits.verifyKeysPerLook);
  });

  it('requests truncated keys again, each of them once', async () => {
    fill(...Array.from({ length: 10 }, (_, index) => `k${index}`));
    b.keys.set('k9', '2');
    for (const region of [a, b, c]) region.lookBrings = 3;
    const { differing, checked } = await verifyAll();
    expect(differing.map(({ key }) => key)).toEqual(['k9']);
    expect(checked).toBe(10);
  });

  it('names a region that returns none of the keys', async () => {
    fill('k1');
    c.lookBrings = 0;
    const progress = beginVerify(['a', 'b', 'c'], false, '');
    expect(await verifySlice(scope, progress, { limit: 10, pauseMs: 0 })).toMatchObject({
      fault: { region: 'c' },
    });
  });

  it('compares only keys with the prefix, even those that exist in one region only', async () => {
    fill('ü:1', 'x:1');
    for (const key of ['ü:1', 'ü:2', 'x:2']) c.keys.set(bytesOfText(key), '2');
    const { differing, checked } = await verifyAll(1_000, 'ü:');
    expect(differing.map(({ key }) => key)).toEqual([bytesOfText('ü:1'), bytesOfText('ü:2')]);
    expect(checked).toBe(2);
  });

  it('does not report a key whose commit reaches a region later', async () => {
    fill('k1');
    a.keys.set('k1', '2');
    b.locks.add('k1');
    let looks = 0;
    b.before = () => {
      looks += 1;
      if (looks !== 3) return;
      for (const region of [b, c]) region.keys.set('k1', '2');
      b.locks.clear();
    };
    expect(await verifyAll()).toMatchObject({ differing: [], restless: [] });
    expect(pauses).toHaveLength(2);
  });

  it('calls a key restless that stays locked while the regions differ', async () => {
    fill('k1');
    a.keys.set('k1', '2');
    b.locks.add('k1');
    expect(await verifyAll()).toMatchObject({ differing: [], restless: ['k1'] });
  });

  it('calls a key restless that changes between inspections', async () => {
    fill('k1');
    a.before = () => a.keys.set('k1', String(pauses.length + 10));
    expect(await verifyAll()).toMatchObject({ differing: [], restless: ['k1'] });
    expect(pauses).toHaveLength(limits.verifyLooks - 1);
  });

  it('waits longer than the clock skew before it reports a key that may have expired', async () => {
    fill('k1');
    b.keys.delete('k1');
    await verifyAll();
    expect(pauses.at(-1)).toBeGreaterThan(limits.clockSkewMs);
  });

  it('pauses between two inspections on request', async () => {
    fill(...Array.from({ length: limits.verifyKeysPerLook * 3 }, (_, index) => `k${index}`));
    await slice(beginVerify(['a', 'b', 'c'], false, ''), limits.verifyKeysMaximum, 30);
    expect(new Set(pauses)).toEqual(new Set([30]));
  });

  it('ends a call after its time limit, with the position to continue', async () => {
    fill(...Array.from({ length: limits.verifyKeysPerLook * 3 }, (_, index) => `k${index}`));
    let now = 0;
    scope = { ...scope, now: () => (now += limits.verifyMs) };
    const found = await slice(beginVerify(['a', 'b', 'c'], false, ''), limits.verifyKeysMaximum);
    expect(found.checked).toBe(limits.verifyKeysPerLook);
    expect(found.next).toMatchObject({ region: 0, cursor: String(limits.verifyKeysPerLook) });
  });

  it('ends a call after a number of steps, even if they return no keys', async () => {
    fill(...Array.from({ length: 60 }, (_, index) => `k${index}`));
    for (const region of [a, b, c]) region.scanBrings = 0;
    const found = await slice(beginVerify(['a', 'b', 'c'], false, ''), 1_000);
    expect(found).toMatchObject({ checked: 0, next: { region: 0 } });
    expect(found.next.cursor).toBe(String(limits.verifyStepsPerCall));
  });

  it('names the region that does not answer', async () => {
    fill('k1');
    b.isSilent = true;
    const progress = beginVerify(['a', 'b', 'c'], false, '');
    expect(await verifySlice(scope, progress, { limit: 10, pauseMs: 0 })).toEqual({
      ok: false,
      fault: { region: 'b', reason: 'no answer in time' },
    });
  });
});

describe('a cursor', () => {
  it('decodes to the position that it encodes', () => {
    const progress = { ...beginVerify(['a', 'b'], true, 'ü'), cursor: '17', checked: 3 };
    expect(progressOfCursor(cursorOf(progress))).toEqual(progress);
  });

  it.each([
    '',
    'x',
    btoa('{}'),
    btoa('null'),
    cursorOf({ ...beginVerify(['a', 'b'], true, ''), region: 2 }),
    cursorOf({ ...beginVerify(['a', 'b'], true, ''), cursor: '0 MATCH x' }),
    cursorOf({ ...beginVerify(['a', 'b'], true, ''), checked: -1 }),
    cursorOf({ ...beginVerify(['a'], true, '') }),
  ])('is refused if it is malformed: %j', (text) => {
    expect(progressOfCursor(text)).toBeNull();
  });
});

describe('a repair', () => {
  const blocked = new Set(['blocked']);

  function plan(keys: readonly string[], source: string | null = null) {
    return planRepair(scope, { keys, source, blocked });
  }

  it('without a source takes the value of the majority', async () => {
    fill('k1', 'k2', 'k3');
    a.keys.set('k1', '2');
    c.keys.delete('k2');
    expect(await plan(['k1', 'k2', 'k3', 'k2'])).toEqual({
      ok: true,
      value: [
        {
          kind: 'repair',
          source: 'b',
          keys: [
            { key: 'k1', regions: ['a'] },
            { key: 'k2', regions: ['c'] },
          ],
        },
      ],
    });
  });

  it('uses a source that it evicts for another key, if no other is right', async () => {
    fill('k1', 'k2', 'k3');
    a.keys.set('k1', '2');
    b.keys.set('k2', '2');
    c.keys.set('k3', '2');
    expect(await plan(['k1', 'k2', 'k3'])).toMatchObject({
      value: [
        { source: 'b', keys: [{ key: 'k1' }] },
        { source: 'a', keys: [{ key: 'k2' }, { key: 'k3' }] },
      ],
    });
  });

  it('removes a key that exists only in a minority', async () => {
    c.keys.set('k1', '1');
    expect(await plan(['k1'])).toMatchObject({
      value: [{ source: 'a', keys: [{ key: 'k1', regions: ['c'] }] }],
    });
  });

  it('orders nothing for keys that are equal in all regions', async () => {
    fill('k1');
    expect(await plan(['k1', 'absent'], 'a')).toEqual({ ok: true, value: [] });
  });

  it('needs a source without a majority, and uses the given one', async () => {
    for (const [index, region] of [a, b, c].entries()) region.keys.set('k1', String(index));
    const refused = await plan(['k1']);
    expect(refused).toMatchObject({ ok: false, problem: { name: 'order-refused' } });
    expect(refused.ok || refused.problem.detail).toMatch(/"k1".*`source`/);
    expect(await plan(['k1'], 'b')).toMatchObject({
      value: [{ source: 'b', keys: [{ key: 'k1', regions: ['a', 'c'] }] }],
    });
  });

  it('has no majority among two regions that differ', async () => {
    scope = { ...scope, regions: [a, b] };
    a.keys.set('k1', '1');
    expect(await plan(['k1'])).toMatchObject({ ok: false });
  });

  it('of a key that waits for an operator copies to all voters, equal or not', async () => {
    fill('blocked');
    expect(await plan(['blocked'])).toMatchObject({ ok: false });
    expect(await plan(['blocked'], 'c')).toMatchObject({
      value: [{ source: 'c', keys: [{ key: 'blocked', regions: ['a', 'b'] }] }],
    });
  });

  it('of a restless key needs a source, and then copies to all voters', async () => {
    fill('k1');
    let look = 0;
    a.before = () => {
      look += 1;
      a.keys.set('k1', `written ${look}`);
    };
    expect(await plan(['k1'])).toMatchObject({ ok: false });
    expect(await plan(['k1'], 'b')).toMatchObject({
      value: [{ keys: [{ key: 'k1', regions: ['a', 'c'] }] }],
    });
  });

  it('orders nothing if a region does not answer', async () => {
    fill('k1');
    c.isSilent = true;
    expect(await plan(['k1'], 'a')).toMatchObject({
      ok: false,
      problem: { name: 'region-unavailable' },
    });
  });
});
