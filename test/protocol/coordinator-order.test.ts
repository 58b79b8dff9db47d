import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig } from './core-harness.ts';

/** The keys of the transactions that are being prepared in `near`. */
function preparedKeys(rig: Rig): readonly (readonly string[])[] {
  return rig.flightsTo('near').flatMap(({ round }) => round.prepares.map(({ keys }) => keys));
}

// R7: a key belongs to one undecided transaction.
describe('frames on one key', () => {
  it('join one transaction as parts in their order, where they waited together', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const waiting = [frameOf(['a', 'b']), frameOf(['b']), frameOf(['a'])];
    const tickets = waiting.map((frame) => rig.arrive(frame));
    expect(rig.preparing('near')).toEqual([[3, 1]]);
    rig.executeAll();
    const round = rig.flightsTo('near').find((send) => send.round.prepares.length > 0)?.round;
    expect(round?.prepares).toHaveLength(1);
    expect(round?.prepares[0]?.parts.map(({ operations }) => operations)).toEqual(
      waiting.map(({ operations }) => operations),
    );
    rig.settle();
    expect(tickets.map((ticket) => rig.record(ticket).sequence)).toEqual([2, 3, 4]);
    expect(new Set(tickets.map((ticket) => rig.record(ticket).transaction)).size).toBe(1);
  });

  it('wait behind an undecided holder, but not for the acknowledgements of a decided one', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const second = rig.arrive(frameOf(['a']));
    expect(preparedKeys(rig)).toEqual([['a']]);
    rig.executeAll();
    expect(rig.core.status().regions.map((region) => region.unacknowledged)).toEqual([1, 1, 1]);
    expect(rig.preparing('far')).toEqual([[3, 2]]);
    rig.executeAll();
    expect(rig.record(second)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('do not make frames on other keys wait: those are transactions of their own', () => {
    const rig = Rig.greeted();
    for (const keys of [['a'], ['b'], ['c', 'd']]) rig.arrive(frameOf(keys));
    expect(preparedKeys(rig)).toEqual([['a'], ['b'], ['c', 'd']]);
  });

  it('do not starve one with several keys: later ones on any of them wait behind it', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const multi = rig.arrive(frameOf(['a', 'b']));
    const later = rig.arrive(frameOf(['b']));
    expect(preparedKeys(rig)).toEqual([['a']]);
    rig.settle();
    expect([multi, later].map((ticket) => rig.record(ticket).sequence)).toEqual([2, 3]);
  });

  it('keep their order when the transaction that held the key is aborted', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(frameOf(['a']));
    const second = rig.arrive(frameOf(['a']));
    rig.execute(rig.flight('near'), { votes: [{ kind: 'duplicate' }] });
    rig.settle();
    expect([first, second].map((ticket) => rig.record(ticket).sequence)).toEqual([1, 2]);
    expect([first, second].map((ticket) => rig.record(ticket).attempts)).toEqual([2, 1]);
  });

  it('beyond what one transaction may have wait for the next', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const tickets = Array.from({ length: limits.partsPerTransaction + 1 }, () =>
      rig.arrive(frameOf(['a'])),
    );
    rig.settle();
    const transactions = tickets.map((ticket) => rig.record(ticket).transaction);
    expect(transactions.filter((id) => id === '0.3.2')).toHaveLength(limits.partsPerTransaction);
    expect(transactions.at(-1)).toBe('0.3.3');
  });
});

// R8: a frame of higher priority does not wait for an undecided one of lower priority.
describe('a frame of higher priority', () => {
  it('aborts the lower one that holds its key, and goes before it', () => {
    const rig = Rig.greeted();
    const lower = rig.arrive(frameOf(['a', 'b'], { priority: 1 }));
    const higher = rig.arrive(frameOf(['b'], { priority: 2 }));
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    for (const region of rig.regions) {
      expect(rig.deciding(region)).toEqual([
        { transaction: [3, 1], outcome: 'abort', keys: ['a', 'b'] },
      ]);
      expect(rig.preparing(region)).toEqual([
        [3, 1],
        [3, 2],
      ]);
    }
    rig.settle();
    expect(rig.record(higher)).toMatchObject({ sequence: 1, attempts: 1 });
    expect(rig.record(lower)).toMatchObject({ sequence: 2, attempts: 2 });
  });

  it('is no reason to abort one of the same priority', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], { priority: 2 }));
    rig.arrive(frameOf(['a'], { priority: 2 }));
    expect(rig.preparing('near')).toEqual([[3, 1]]);
    expect(rig.core.status()).toMatchObject({ undecided: 1, queued: 1 });
  });

  it('aborts nothing where one of its keys is held by its equal, as it could not go anyway', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.arrive(frameOf(['b'], { priority: 2 }));
    rig.arrive(frameOf(['a', 'b'], { priority: 2 }));
    expect(rig.core.status()).toMatchObject({ undecided: 2, queued: 1 });
  });

  it('leaves alone what holds other keys', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.arrive(frameOf(['b'], { priority: 9 }));
    expect(rig.core.status()).toMatchObject({ undecided: 2, queued: 0 });
  });

  it('sends the preempted one back to its old place, before those that came after it', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(frameOf(['a']));
    const second = rig.arrive(frameOf(['a']));
    const urgent = rig.arrive(frameOf(['a'], { priority: 1 }));
    rig.settle();
    const sequences = [urgent, first, second].map((ticket) => rig.record(ticket).sequence);
    expect(sequences).toEqual([1, 2, 3]);
  });
});
