import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import {
  FrameQueue,
  goesBefore,
  type PendingWrite,
  takeBatch,
} from '../../shared/protocol/transactions/admission.ts';
import { frameOf } from './core-harness.ts';
import { waitingOf } from './pending-writes.ts';

let arrivals = 0;

/** A frame that waits, later than those made before. */
function waiting(keys: readonly string[], given: Partial<PendingWrite> = {}): PendingWrite {
  arrivals += 1;
  return waitingOf(frameOf(keys), arrivals, given);
}

function queueOf(...frames: readonly PendingWrite[]): FrameQueue {
  const queue = new FrameQueue();
  for (const frame of frames) queue.add(frame);
  return queue;
}

const free = () => false;

describe('the queue of frames', () => {
  it('is ordered by priority, then by arrival, regardless of the order of insertion', () => {
    const first = waiting(['a']);
    const second = waiting(['a']);
    const urgent = waiting(['a'], { frame: frameOf(['a'], { priority: 5 }) });
    expect(queueOf(second, first, urgent).frames).toEqual([urgent, first, second]);
  });

  it('puts a frame that returns back into its old place', () => {
    const [first, second, third] = [waiting(['a']), waiting(['a']), waiting(['a'])];
    const queue = queueOf(first, second, third);
    queue.take((frame) => frame === second);
    expect(queue.frames).toEqual([first, third]);
    queue.add(second);
    expect(queue.frames).toEqual([first, second, third]);
  });

  it('reports the awaited keys and its size until the last frame on a key has left', () => {
    const [first, second] = [waiting(['a', 'b']), waiting(['b', 'c'])];
    const queue = queueOf(first, second);
    expect([queue.length, queue.bytes]).toEqual([2, 200]);
    queue.take((frame) => frame === first);
    expect([['a'], ['b'], ['c']].map((keys) => queue.waitsFor(keys))).toEqual([false, true, true]);
    queue.take(() => true);
    expect(queue.waitsFor(['b', 'c'])).toBe(false);
    expect([queue.length, queue.bytes]).toEqual([0, 0]);
  });
});

// R7: a key belongs to one undecided transaction.
describe('a batch', () => {
  it('makes frames that share a key the parts of one transaction, in order', () => {
    const [first, second, third] = [waiting(['a']), waiting(['a', 'b']), waiting(['b'])];
    expect(takeBatch(queueOf(third, first, second), free, 0)).toEqual([[first, second, third]]);
  });

  it('makes frames without a key in common separate transactions', () => {
    const [first, second] = [waiting(['a']), waiting(['b'])];
    expect(takeBatch(queueOf(first, second), free, 0)).toEqual([[first], [second]]);
  });

  it('merges two groups that a later frame connects, and keeps the order of arrival', () => {
    const [a, b] = [waiting(['a']), waiting(['b'])];
    const [alsoA, both] = [waiting(['a']), waiting(['b', 'a'])];
    expect(takeBatch(queueOf(a, b, alsoA, both), free, 0)).toEqual([[a, b, alsoA, both]]);
  });

  it('leaves behind a frame whose key is locked, and every later frame on any of its keys', () => {
    const multi = waiting(['locked', 'a']);
    const later = waiting(['a']);
    const latest = waiting(['a', 'b']);
    const other = waiting(['c']);
    const queue = queueOf(multi, later, latest, other);
    expect(takeBatch(queue, (key) => key === 'locked', 0)).toEqual([[other]]);
    expect(queue.frames).toEqual([multi, later, latest]);
  });

  it('leaves behind a frame that pauses, and lets other frames use its keys meanwhile', () => {
    const paused = waiting(['a'], { retryAt: 50 });
    const other = waiting(['a']);
    const queue = queueOf(paused, other);
    expect(takeBatch(queue, free, 49)).toEqual([[other]]);
    expect(takeBatch(queue, free, 50)).toEqual([[paused]]);
  });

  it('keeps frames that arrive together with a pausing frame behind it', () => {
    const paused = waiting(['a', 'b'], { retryAt: 50, together: 1 });
    const behind = waiting(['b', 'c'], { together: 1 });
    const last = waiting(['c'], { together: 1 });
    const beside = waiting(['d'], { together: 1 });
    const other = waiting(['a', 'b', 'c'], { together: 2 });
    const queue = queueOf(paused, behind, last, beside, other);
    expect(takeBatch(queue, free, 49)).toEqual([[beside], [other]]);
    expect(takeBatch(queue, free, 50)).toEqual([[paused, behind, last]]);
  });

  it('takes no more parts than a transaction may have, and leaves the next frame behind', () => {
    const frames = Array.from({ length: limits.partsPerTransaction + 1 }, () => waiting(['a']));
    const queue = queueOf(...frames);
    expect(takeBatch(queue, free, 0)).toEqual([frames.slice(0, -1)]);
    expect(takeBatch(queue, free, 0)).toEqual([frames.slice(-1)]);
  });

  it('takes no more bytes than a transaction may have, and leaves the next frame behind', () => {
    const sized = (bytes: number) => waiting(['a'], { frame: frameOf(['a'], { bytes }) });
    const half = limits.transactionBytes / 2;
    const full = [sized(half), sized(half)];
    expect(takeBatch(queueOf(...full), free, 0)).toEqual([full]);
    const [first, second] = [sized(half), sized(half + 1)];
    expect(takeBatch(queueOf(first, second), free, 0)).toEqual([[first]]);
  });

  it('takes a frame that alone exceeds the byte limit of a shared transaction', () => {
    const large = waiting(['a'], { frame: frameOf(['a'], { bytes: limits.transactionBytes + 1 }) });
    expect(takeBatch(queueOf(large), free, 0)).toEqual([[large]]);
  });
});

describe('any batch', () => {
  const key = fc.constantFrom<string[]>('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
  const frame = fc.record({
    keys: fc.uniqueArray(key, { minLength: 1, maxLength: 3 }),
    priority: fc.constantFrom(0, 0, 0, 5),
    bytes: fc.constantFrom(100, limits.transactionBytes / 3, limits.transactionBytes),
    retryAt: fc.constantFrom(0, 0, 0, 100),
  });
  const inputs = fc.record({
    frames: fc.array(frame, { maxLength: 30 }),
    locked: fc.uniqueArray(key, { maxLength: 2 }),
  });

  /** Takes one batch of the given frames at time 0. */
  function take({
    frames,
    locked,
  }: typeof inputs extends fc.Arbitrary<infer Input> ? Input : never) {
    const all = frames.map(({ keys, priority, bytes, retryAt }) =>
      waiting(keys, { frame: frameOf(keys, { priority, bytes }), retryAt }),
    );
    const queue = queueOf(...all);
    const inOrder = [...queue.frames];
    const groups = takeBatch(queue, (name) => locked.includes(name), 0);
    return { all, inOrder, groups, taken: groups.flat(), left: queue.frames, locked };
  }

  it('loses no frame, and takes none twice', () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { all, taken, left } = take(given);
        expect(new Set([...taken, ...left])).toEqual(new Set(all));
        expect(taken.length + left.length).toBe(all.length);
      }),
    );
  });

  it('never puts one key into two transactions, and never takes a locked key', () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { groups, locked } = take(given);
        const names = groups.flatMap((group) => [
          ...new Set(group.flatMap((one) => one.frame.keys)),
        ]);
        expect(new Set(names).size).toBe(names.length);
        expect(names.filter((name) => locked.includes(name))).toEqual([]);
      }),
    );
  });

  it('keeps the order inside a transaction, and stays within its limits', () => {
    fc.assert(
      fc.property(inputs, (given) => {
        for (const group of take(given).groups) {
          const pairs = group.slice(1).map((part, at) => [group[at] ?? part, part] as const);
          expect(pairs.every(([one, next]) => goesBefore(one, next))).toBe(true);
          const bytes = group.reduce((sum, part) => sum + part.frame.bytes, 0);
          expect(group.length === 1 || bytes <= limits.transactionBytes).toBe(true);
        }
      }),
    );
  });

  it('never lets a frame overtake an earlier one on the same key, unless that one pauses', () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { inOrder, taken } = take(given);
        const passed = new Set<string>();
        for (const one of inOrder) {
          if (taken.includes(one))
            expect(one.frame.keys.some((name) => passed.has(name))).toBe(false);
          else if (one.retryAt === 0) for (const name of one.frame.keys) passed.add(name);
        }
      }),
    );
  });

  it('leaves only frames that have a reason to wait', () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { left, locked, all } = take(given);
        if (locked.length > 0 || all.some((one) => one.retryAt > 0)) return;
        const bytes = all.reduce((sum, one) => sum + one.frame.bytes, 0);
        if (bytes <= limits.transactionBytes) expect(left).toEqual([]);
      }),
    );
  });
});
