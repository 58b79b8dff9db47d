import { describe, expect, it } from 'vitest';
import type { RecordedWrite } from '../../shared/protocol/io/events.ts';
import { outcomesOfJson, partOfJson } from '../region/replies.ts';
import { frameOf, Rig, start } from './core-harness.ts';

const idempotency = { key: 'once', digest: 'this' };
const again = () => frameOf(['a'], { idempotency });

/** A rig that has committed one write under the key; its commits are on their way. */
function committed(): { readonly rig: Rig; readonly recorded: RecordedWrite } {
  const rig = Rig.greeted();
  const ticket = rig.arrive(again());
  rig.executeAll();
  return { rig, recorded: { record: rig.record(ticket), digest: idempotency.digest } };
}

// P4: requests with the same idempotency key and content get the first answer.
describe('an idempotency key', () => {
  it('joins the attempt under way: one transaction, and every caller gets its answer', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(again());
    const second = rig.arrive(again());
    expect(rig.core.status()).toMatchObject({ undecided: 1, queued: 0 });
    rig.settle();
    expect(rig.record(second)).toEqual(rig.record(first));
    expect(rig.core.status().sequence).toBe(1);
  });

  it('joins a frame that is still queued, too', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const [first, second] = [rig.arrive(again()), rig.arrive(again())];
    expect(rig.core.status().queued).toBe(1);
    rig.settle();
    expect(rig.record(second)).toEqual(rig.record(first));
  });

  it('tells a caller that joins without waiting the id of the first', () => {
    const rig = Rig.greeted();
    const frame = again();
    rig.arrive(frame);
    const ticket = rig.arrive(again(), { async: true });
    expect(rig.told(ticket)).toEqual({ kind: 'accepted', id: frame.id });
  });

  it('is refused with another content, while the first is under way', () => {
    const rig = Rig.greeted();
    const frame = again();
    rig.arrive(frame);
    const ticket = rig.arrive(frameOf(['a'], { idempotency: { ...idempotency, digest: 'other' } }));
    expect(rig.told(ticket)).toEqual({ kind: 'key-reused', id: frame.id });
  });

  it('is refused with another content, once the first is recorded', () => {
    const { rig, recorded } = committed();
    const frame = frameOf(['a'], { idempotency: { ...idempotency, digest: 'other' } });
    const ticket = rig.arrive(frame, { recorded });
    expect(rig.told(ticket)).toEqual({ kind: 'key-reused', id: recorded.record.id });
  });

  it('is answered from the record, with a proof and without a transaction', () => {
    const { rig, recorded } = committed();
    const ticket = rig.arrive(again(), { recorded });
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
    expect(rig.record(ticket).id).toBe(recorded.record.id);
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
    expect(rig.core.status().undecided).toBe(0);
  });

  it('is answered from the record also after its own notAfter', () => {
    const { rig, recorded } = committed();
    const ticket = rig.arrive(frameOf(['a'], { idempotency, notAfter: start }), { recorded });
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  // R6: what was told as failed stays failed.
  it('replays a failed check, whatever has become of the key since', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(again());
    for (const send of rig.flights) {
      const outcomes = '[[1,0,null]]';
      rig.execute(send, {
        votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: ['absent'] }],
      });
    }
    const recorded = { record: rig.record(first), digest: idempotency.digest };
    const ticket = rig.arrive(again(), { recorded });
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
    expect(rig.record(ticket)).toMatchObject({
      outcome: 'rejected',
      part: partOfJson('[1,0,null]'),
    });
  });

  it('begins anew after the first was given up, as nothing was written', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(frameOf(['a'], { idempotency, notAfter: rig.now + 5 }));
    rig.advance(5);
    expect(rig.told(first)?.kind).toBe('unavailable');
    const second = rig.arrive(again());
    rig.settle();
    expect(rig.record(second)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });
});

describe('a caller that asked for the confirmation', () => {
  const confirmed = { ack: 'confirmed', idempotency } as const;

  it('is answered once the last region has acknowledged, and not before', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { ack: 'confirmed' }));
    rig.executeAll();
    rig.executeAll(['near', 'middle']);
    expect(rig.told(ticket)).toBeUndefined();
    rig.executeAll(['far']);
    expect(rig.record(ticket).appliedIn).toEqual(['near', 'middle', 'far']);
    expect(rig.last.persist).toContainEqual(expect.objectContaining({ kind: 'confirm' }));
  });

  it('is told at its deadline that the write is committed but not confirmed, and where it is', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { ack: 'confirmed', notAfter: rig.now + 100 }));
    rig.executeAll();
    rig.executeAll(['near']);
    rig.advance(99);
    expect(rig.told(ticket)).toBeUndefined();
    rig.advance(1);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unconfirmed',
      record: { outcome: 'committed', appliedIn: ['near'] },
    });
  });

  it('is answered at once where its check failed, as there is nothing to apply', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { ack: 'confirmed' }));
    for (const send of rig.flights) {
      const outcomes = '[[1,0,null]]';
      rig.execute(send, {
        votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: ['absent'] }],
      });
    }
    expect(rig.record(ticket)).toMatchObject({ outcome: 'rejected' });
  });

  it('waits with a repeated request too, while the write is being applied', () => {
    const { rig, recorded } = committed();
    const ticket = rig.arrive(frameOf(['a'], confirmed), { recorded });
    expect(rig.told(ticket)).toBeUndefined();
    rig.settle();
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('waits with a repeated request also after a restart, until the commit is acknowledged', () => {
    const { recorded } = committed();
    const unconfirmed = [{ transaction: [3, 1] as const, keys: ['a'], sequence: 1, writes: [] }];
    const rig = new Rig({ stored: { incarnation: 4, unconfirmed, sequence: 1 } });
    rig.tick();
    const ticket = rig.arrive(frameOf(['a'], confirmed), { recorded });
    expect(rig.told(ticket)).toBeUndefined();
    rig.settle();
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('is not told of a confirmation that has not come, where it cannot wait', () => {
    const { rig, recorded } = committed();
    const late = rig.arrive(frameOf(['a'], { ...confirmed, notAfter: rig.now }), { recorded });
    const async = rig.arrive(frameOf(['a'], confirmed), { recorded, async: true });
    expect([late, async].map((ticket) => rig.told(ticket)?.kind)).toEqual([
      'unconfirmed',
      'unconfirmed',
    ]);
  });

  it('is answered at once from the record of a failed check, though other parts are applied', () => {
    const { rig, recorded } = committed();
    const rejected = { ...recorded.record, outcome: 'rejected', sequence: null } as const;
    const ticket = rig.arrive(frameOf(['a'], confirmed), {
      recorded: { ...recorded, record: rejected },
    });
    expect(rig.record(ticket)).toMatchObject({ outcome: 'rejected' });
  });
});
