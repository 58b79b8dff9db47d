import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig } from './core-harness.ts';

/** The prepares on their way to `near`, round by round: the number of parts of each. */
function partsOnTheirWay(rig: Rig): readonly (readonly number[])[] {
  return rig
    .flightsTo('near')
    .map(({ round }) => round.prepares.map(({ parts }) => parts.length))
    .filter((prepares) => prepares.length > 0);
}

describe('frames that arrive together', () => {
  it('go in one round, each on keys of its own as a transaction of its own', () => {
    const rig = Rig.greeted();
    const frames = Array.from({ length: 100 }, (_, index) => frameOf([`k${index}`]));
    const tickets = rig.arriveTogether(frames);
    expect(partsOnTheirWay(rig)).toEqual([Array(100).fill(1)]);
    rig.executeAll();
    expect(tickets.map((ticket) => rig.record(ticket).sequence)).toEqual(
      frames.map((_, index) => index + 1),
    );
  });

  it('become parts of one transaction in their order where they share keys', () => {
    const rig = Rig.greeted();
    const frames = [frameOf(['a']), frameOf(['a', 'b']), frameOf(['b']), frameOf(['c'])];
    const tickets = rig.arriveTogether(frames);
    expect(partsOnTheirWay(rig)).toEqual([[3, 1]]);
    const [prepare] = rig.flight('near').round.prepares;
    expect(prepare?.parts.map(({ operations }) => operations)).toEqual(
      frames.slice(0, 3).map(({ operations }) => operations),
    );
    rig.executeAll();
    expect(tickets.map((ticket) => rig.record(ticket).sequence)).toEqual([1, 2, 3, 4]);
  });

  it('wait for an undecided holder of their key, and let the others go', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const [second, third] = rig.arriveTogether([frameOf(['a']), frameOf(['b'])]);
    expect(rig.preparing('near')).toEqual([
      [3, 1],
      [3, 2],
    ]);
    rig.settle();
    expect(rig.record(third ?? 0).transaction).toBe('0.3.2');
    expect(rig.record(second ?? 0).outcome).toBe('committed');
  });

  it('keep their order behind one that waits for its key', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const [both, last] = rig.arriveTogether([frameOf(['a', 'b']), frameOf(['b'])]);
    expect(rig.preparing('near')).toEqual([[3, 1]]);
    rig.settle();
    const sequences = [both, last].map((ticket) => rig.record(ticket ?? 0).sequence);
    expect(sequences).toEqual([2, 3]);
  });

  it('are more than a transaction takes: the rest follows in the next one', () => {
    const rig = Rig.greeted();
    const count = limits.partsPerTransaction + 1;
    const tickets = rig.arriveTogether(Array.from({ length: count }, () => frameOf(['a'])));
    expect(partsOnTheirWay(rig)).toEqual([[limits.partsPerTransaction]]);
    rig.settle();
    const sequences = tickets.map((ticket) => rig.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('keep their order where the first transaction of them pauses', () => {
    const rig = Rig.greeted();
    const count = limits.partsPerTransaction + 1;
    const tickets = rig.arriveTogether(Array.from({ length: count }, () => frameOf(['a'])));
    rig.execute(rig.flight('near'), { votes: [{ kind: 'refused', reason: 'out of memory' }] });
    rig.executeAll();
    rig.settle();
    rig.advance(limits.retryBackoffMaxMs);
    rig.settle();
    const sequences = tickets.map((ticket) => rig.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('are refused one by one where the queue is full', () => {
    const rig = Rig.greeted();
    const half = limits.queuedBytes / 2;
    const large = () => frameOf(['a'], { bytes: half });
    const tickets = rig.arriveTogether([large(), large(), large()]);
    expect(tickets.map((ticket) => rig.told(ticket)?.kind)).toEqual([undefined, undefined, 'busy']);
  });

  it('are one where two come under one idempotency key', () => {
    const rig = Rig.greeted();
    const idempotency = { key: 'k', digest: 'd' };
    const tickets = rig.arriveTogether([
      frameOf(['a'], { idempotency }),
      frameOf(['a'], { idempotency }),
    ]);
    rig.executeAll();
    const [first, second] = tickets.map((ticket) => rig.record(ticket).id);
    expect(first).toBe(second);
  });
});
