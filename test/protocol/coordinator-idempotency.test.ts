import { describe, expect, it } from 'vitest';
import type { RecordedWrite } from '../../shared/protocol/io/events.ts';
import { outcomesOfJson, partOfJson } from '../region/replies.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';

const idempotency = { key: 'once', digest: 'this' };
const again = () => frameOf(['a'], { idempotency });

/** A harness that has committed one write under the key; its commits are on their way. */
function committed(): { readonly harness: CoreHarness; readonly recorded: RecordedWrite } {
  const harness = CoreHarness.begun();
  const ticket = harness.arrive(again());
  harness.executeAll();
  return { harness, recorded: { record: harness.record(ticket), digest: idempotency.digest } };
}

// P4: requests with the same idempotency key and content get the first answer.
describe('an idempotency key', () => {
  it('joins the attempt under way: one transaction, and every caller gets its answer', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(again());
    const second = harness.arrive(again());
    expect(harness.core.status()).toMatchObject({ undecided: 1, queued: 0 });
    harness.settle();
    expect(harness.record(second)).toEqual(harness.record(first));
    expect(harness.core.status().sequence).toBe(1);
  });

  it('joins a frame that is still queued, too', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const [first, second] = [harness.arrive(again()), harness.arrive(again())];
    expect(harness.core.status().queued).toBe(1);
    harness.settle();
    expect(harness.record(second)).toEqual(harness.record(first));
  });

  it('returns the id of the first write to a repetition that joins without waiting', () => {
    const harness = CoreHarness.begun();
    const frame = again();
    harness.arrive(frame);
    const ticket = harness.arrive(again(), { async: true });
    expect(harness.answerTo(ticket)).toEqual({ kind: 'accepted', id: frame.id });
  });

  it('is refused with other content while the first write is under way', () => {
    const harness = CoreHarness.begun();
    const frame = again();
    harness.arrive(frame);
    const ticket = harness.arrive(
      frameOf(['a'], { idempotency: { ...idempotency, digest: 'other' } }),
    );
    expect(harness.answerTo(ticket)).toEqual({ kind: 'key-reused', id: frame.id });
  });

  it('is refused with other content once the first write is recorded', () => {
    const { harness, recorded } = committed();
    const frame = frameOf(['a'], { idempotency: { ...idempotency, digest: 'other' } });
    const ticket = harness.arrive(frame, { recorded });
    expect(harness.answerTo(ticket)).toEqual({ kind: 'key-reused', id: recorded.record.id });
  });

  it('is answered from the record, with a proof of ownership and without a transaction', () => {
    const { harness, recorded } = committed();
    const ticket = harness.arrive(again(), { recorded });
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
    expect(harness.record(ticket).id).toBe(recorded.record.id);
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
    expect(harness.core.status().undecided).toBe(0);
  });

  it('is answered from the record also after its own notAfter', () => {
    const { harness, recorded } = committed();
    const ticket = harness.arrive(frameOf(['a'], { idempotency, notAfter: start }), { recorded });
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  // R6: a check that was answered as failed stays failed.
  it('replays a failed check, regardless of later changes of the key', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(again());
    for (const send of harness.flights) {
      const outcomes = '[[1,0,null]]';
      harness.execute(send, {
        votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: ['absent'] }],
      });
    }
    const recorded = { record: harness.record(first), digest: idempotency.digest };
    const ticket = harness.arrive(again(), { recorded });
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
    expect(harness.record(ticket)).toMatchObject({
      outcome: 'rejected',
      part: partOfJson('[1,0,null]'),
    });
  });

  it('starts again after the first write was given up, as nothing was written', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(frameOf(['a'], { idempotency, notAfter: harness.now + 5 }));
    harness.advance(5);
    expect(harness.answerTo(first)?.kind).toBe('unavailable');
    const second = harness.arrive(again());
    harness.settle();
    expect(harness.record(second)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });
});

describe('a caller that requested the confirmation', () => {
  const confirmed = { ack: 'confirmed', idempotency } as const;

  it('is answered once the last region has acknowledged, and not before', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { ack: 'confirmed' }));
    harness.executeAll();
    harness.executeAll(['near', 'middle']);
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.executeAll(['far']);
    expect(harness.record(ticket).appliedIn).toEqual(['near', 'middle', 'far']);
    expect(harness.last.persist).toContainEqual(expect.objectContaining({ kind: 'confirm' }));
  });

  it('hears at its deadline that the write is committed but not confirmed, and which regions have applied it', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(
      frameOf(['a'], { ack: 'confirmed', notAfter: harness.now + 100 }),
    );
    harness.executeAll();
    harness.executeAll(['near']);
    harness.advance(99);
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.advance(1);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unconfirmed',
      record: { outcome: 'committed', appliedIn: ['near'] },
    });
  });

  it('is answered at once if its check failed, as there is nothing to apply', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { ack: 'confirmed' }));
    for (const send of harness.flights) {
      const outcomes = '[[1,0,null]]';
      harness.execute(send, {
        votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: ['absent'] }],
      });
    }
    expect(harness.record(ticket)).toMatchObject({ outcome: 'rejected' });
  });

  it('waits with a repeated request too, while the write is being applied', () => {
    const { harness, recorded } = committed();
    const ticket = harness.arrive(frameOf(['a'], confirmed), { recorded });
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.settle();
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('waits with a repeated request also after a restart, until the commit is acknowledged', () => {
    const { recorded } = committed();
    const unconfirmed = [{ transaction: [3, 1] as const, keys: ['a'], sequence: 1, writes: [] }];
    const harness = new CoreHarness({ stored: { incarnation: 4, unconfirmed, sequence: 1 } });
    harness.tick();
    const ticket = harness.arrive(frameOf(['a'], confirmed), { recorded });
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.settle();
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('is answered as unconfirmed before the confirmation arrives if it cannot wait', () => {
    const { harness, recorded } = committed();
    const late = harness.arrive(frameOf(['a'], { ...confirmed, notAfter: harness.now }), {
      recorded,
    });
    const async = harness.arrive(frameOf(['a'], confirmed), { recorded, async: true });
    expect([late, async].map((ticket) => harness.answerTo(ticket)?.kind)).toEqual([
      'unconfirmed',
      'unconfirmed',
    ]);
  });

  it('is answered at once from the record of a failed check, though other parts are applied', () => {
    const { harness, recorded } = committed();
    const rejected = { ...recorded.record, outcome: 'rejected', sequence: null } as const;
    const ticket = harness.arrive(frameOf(['a'], confirmed), {
      recorded: { ...recorded, record: rejected },
    });
    expect(harness.record(ticket)).toMatchObject({ outcome: 'rejected' });
  });
});
