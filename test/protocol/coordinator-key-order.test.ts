import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

/** The keys of the transactions that are being prepared in `near`. */
function preparedKeys(harness: CoreHarness): readonly (readonly string[])[] {
  return harness.flightsTo('near').flatMap(({ round }) => round.prepares.map(({ keys }) => keys));
}

// R7: a key belongs to one undecided transaction.
describe('frames on one key', () => {
  it('join one transaction as parts in their order, if they waited together', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const waiting = [frameOf(['a', 'b']), frameOf(['b']), frameOf(['a'])];
    const tickets = waiting.map((frame) => harness.arrive(frame));
    expect(harness.preparing('near')).toEqual([[3, 1]]);
    harness.executeAll();
    const round = harness.flightsTo('near').find((send) => send.round.prepares.length > 0)?.round;
    expect(round?.prepares).toHaveLength(1);
    expect(round?.prepares[0]?.parts.map(({ operations }) => operations)).toEqual(
      waiting.map(({ operations }) => operations),
    );
    harness.settle();
    expect(tickets.map((ticket) => harness.record(ticket).sequence)).toEqual([2, 3, 4]);
    expect(new Set(tickets.map((ticket) => harness.record(ticket).transaction)).size).toBe(1);
  });

  it('wait behind an undecided holder, but not for the acknowledgements of a decided one', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const second = harness.arrive(frameOf(['a']));
    expect(preparedKeys(harness)).toEqual([['a']]);
    harness.executeAll();
    expect(harness.core.status().regions.map((region) => region.unacknowledged)).toEqual([1, 1, 1]);
    expect(harness.preparing('far')).toEqual([[3, 2]]);
    harness.executeAll();
    expect(harness.record(second)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('do not make frames on other keys wait: those are transactions of their own', () => {
    const harness = CoreHarness.begun();
    for (const keys of [['a'], ['b'], ['c', 'd']]) {
      harness.arrive(frameOf(keys));
      harness.advance(10);
    }
    expect(preparedKeys(harness)).toEqual([['a'], ['b'], ['c', 'd']]);
  });

  it('do not starve a frame with several keys: later ones on any of them wait behind it', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const multi = harness.arrive(frameOf(['a', 'b']));
    const later = harness.arrive(frameOf(['b']));
    expect(preparedKeys(harness)).toEqual([['a']]);
    harness.settle();
    expect([multi, later].map((ticket) => harness.record(ticket).sequence)).toEqual([2, 3]);
  });

  it('keep their order when the transaction that held the key is aborted', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(frameOf(['a']));
    const second = harness.arrive(frameOf(['a']));
    harness.execute(harness.flight('near'), { votes: [{ kind: 'duplicate' }] });
    harness.settle();
    expect([first, second].map((ticket) => harness.record(ticket).sequence)).toEqual([1, 2]);
    expect([first, second].map((ticket) => harness.record(ticket).attempts)).toEqual([2, 1]);
  });

  it('beyond the limit of a transaction wait for the next one', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const tickets = Array.from({ length: limits.partsPerTransaction + 1 }, () =>
      harness.arrive(frameOf(['a'])),
    );
    harness.settle();
    const transactions = tickets.map((ticket) => harness.record(ticket).transaction);
    expect(transactions.filter((id) => id === '0.3.2')).toHaveLength(limits.partsPerTransaction);
    expect(transactions.at(-1)).toBe('0.3.3');
  });
});

// R8: a frame of higher priority does not wait for an undecided one of lower priority.
describe('a frame of higher priority', () => {
  it('aborts a transaction of lower priority that holds its key, and goes before it', () => {
    const harness = CoreHarness.begun();
    const lower = harness.arrive(frameOf(['a', 'b'], { priority: 1 }));
    const higher = harness.arrive(frameOf(['b'], { priority: 2 }));
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    for (const region of harness.regions) {
      expect(harness.deciding(region)).toEqual([
        { transaction: [3, 1], outcome: 'abort', keys: ['a', 'b'] },
      ]);
      expect(harness.preparing(region)).toEqual([
        [3, 1],
        [3, 2],
      ]);
    }
    harness.settle();
    expect(harness.record(higher)).toMatchObject({ sequence: 1, attempts: 1 });
    expect(harness.record(lower)).toMatchObject({ sequence: 2, attempts: 2 });
  });

  it('does not abort a transaction of the same priority', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], { priority: 2 }));
    harness.arrive(frameOf(['a'], { priority: 2 }));
    expect(harness.preparing('near')).toEqual([[3, 1]]);
    expect(harness.core.status()).toMatchObject({ undecided: 1, queued: 1 });
  });

  it('aborts nothing if another of its keys is held by an equal, as it could not go anyway', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.arrive(frameOf(['b'], { priority: 2 }));
    harness.arrive(frameOf(['a', 'b'], { priority: 2 }));
    expect(harness.core.status()).toMatchObject({ undecided: 2, queued: 1 });
  });

  it('leaves transactions on other keys alone', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.arrive(frameOf(['b'], { priority: 9 }));
    expect(harness.core.status()).toMatchObject({ undecided: 2, queued: 0 });
  });

  it('sends the preempted frame back to its old place, before those that came after it', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(frameOf(['a']));
    const second = harness.arrive(frameOf(['a']));
    const urgent = harness.arrive(frameOf(['a'], { priority: 1 }));
    harness.settle();
    const sequences = [urgent, first, second].map((ticket) => harness.record(ticket).sequence);
    expect(sequences).toEqual([1, 2, 3]);
  });
});
