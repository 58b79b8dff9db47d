import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

/** The prepares on their way to `near`, round by round: the number of parts of each. */
function partsOnTheirWay(harness: CoreHarness): readonly (readonly number[])[] {
  return harness
    .flightsTo('near')
    .map(({ round }) => round.prepares.map(({ parts }) => parts.length))
    .filter((prepares) => prepares.length > 0);
}

describe('frames that arrive together', () => {
  it('go in one round, each on keys of its own as a transaction of its own', () => {
    const harness = CoreHarness.begun();
    const frames = Array.from({ length: 100 }, (_, index) => frameOf([`k${index}`]));
    const tickets = harness.arriveTogether(frames);
    expect(partsOnTheirWay(harness)).toEqual([Array(100).fill(1)]);
    harness.executeAll();
    expect(tickets.map((ticket) => harness.record(ticket).sequence)).toEqual(
      frames.map((_, index) => index + 1),
    );
  });

  it('become parts of one transaction in their order if they share keys', () => {
    const harness = CoreHarness.begun();
    const frames = [frameOf(['a']), frameOf(['a', 'b']), frameOf(['b']), frameOf(['c'])];
    const tickets = harness.arriveTogether(frames);
    expect(partsOnTheirWay(harness)).toEqual([[3, 1]]);
    const [prepare] = harness.flight('near').round.prepares;
    expect(prepare?.parts.map(({ operations }) => operations)).toEqual(
      frames.slice(0, 3).map(({ operations }) => operations),
    );
    harness.executeAll();
    expect(tickets.map((ticket) => harness.record(ticket).sequence)).toEqual([1, 2, 3, 4]);
  });

  it('wait for an undecided holder of their key, and let the others go', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const [second, third] = harness.arriveTogether([frameOf(['a']), frameOf(['b'])]);
    expect(harness.preparing('near')).toEqual([
      [3, 1],
      [3, 2],
    ]);
    harness.settle();
    expect(harness.record(third ?? 0).transaction).toBe('0.3.2');
    expect(harness.record(second ?? 0).outcome).toBe('committed');
  });

  it('keep their order behind one that waits for its key', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const [both, last] = harness.arriveTogether([frameOf(['a', 'b']), frameOf(['b'])]);
    expect(harness.preparing('near')).toEqual([[3, 1]]);
    harness.settle();
    const sequences = [both, last].map((ticket) => harness.record(ticket ?? 0).sequence);
    expect(sequences).toEqual([2, 3]);
  });

  it('go in one round also if they are of several clients', () => {
    const harness = CoreHarness.begun();
    const tickets = harness.arriveTogether([frameOf(['a']), frameOf(['b'])], false);
    expect(partsOnTheirWay(harness)).toEqual([[1, 1]]);
    harness.executeAll();
    expect(tickets.map((ticket) => harness.record(ticket).sequence)).toEqual([1, 2]);
  });

  it('beyond the limit of a transaction follow in the next one', () => {
    const harness = CoreHarness.begun();
    const count = limits.partsPerTransaction + 1;
    const tickets = harness.arriveTogether(Array.from({ length: count }, () => frameOf(['a'])));
    expect(partsOnTheirWay(harness)).toEqual([[limits.partsPerTransaction]]);
    harness.settle();
    const sequences = tickets.map((ticket) => harness.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('keep their order if the first transaction of them pauses', () => {
    const harness = CoreHarness.begun();
    const count = limits.partsPerTransaction + 1;
    const tickets = harness.arriveTogether(Array.from({ length: count }, () => frameOf(['a'])));
    harness.execute(harness.flight('near'), {
      votes: [{ kind: 'refused', reason: 'out of memory' }],
    });
    harness.executeAll();
    harness.settle();
    harness.advance(limits.retryBackoffMaxMs);
    harness.settle();
    const sequences = tickets.map((ticket) => harness.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('are refused one by one if the queue is full', () => {
    const harness = CoreHarness.begun();
    const half = limits.queuedBytes / 2;
    const large = () => frameOf(['a'], { bytes: half });
    const tickets = harness.arriveTogether([large(), large(), large()]);
    expect(tickets.map((ticket) => harness.answerTo(ticket)?.kind)).toEqual([
      undefined,
      undefined,
      'busy',
    ]);
  });

  it('are one if two have the same idempotency key', () => {
    const harness = CoreHarness.begun();
    const idempotency = { key: 'k', digest: 'd' };
    const tickets = harness.arriveTogether([
      frameOf(['a'], { idempotency }),
      frameOf(['a'], { idempotency }),
    ]);
    harness.executeAll();
    const [first, second] = tickets.map((ticket) => harness.record(ticket).id);
    expect(first).toBe(second);
  });
});
