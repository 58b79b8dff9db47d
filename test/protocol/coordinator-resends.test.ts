import { describe, expect, it } from 'vitest';
import type { Callback } from '../../shared/contracts/webhooks-and-feed.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';

const callback: Callback = {
  endpoint: 'cb_one',
  url: 'https://example.com/hook',
  secret: null,
  events: ['write.aborted'],
  values: false,
};

// The edge sends a write again under the same id if the coordinator gave no answer.
describe('a write that is sent again under its own id', () => {
  it('joins itself while it is still under way', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a']);
    const first = harness.arrive(frame);
    const second = harness.arrive(frame, { again: true });
    expect(harness.core.status().undecided).toBe(1);
    harness.settle();
    expect(harness.record(second)).toEqual(harness.record(first));
    expect(harness.core.status().sequence).toBe(1);
  });

  it('is answered from its record, not as a repetition, and after a proof of ownership', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a']);
    const first = harness.arrive(frame);
    harness.settle();
    const recorded = { record: harness.record(first), digest: null };
    const second = harness.arrive(frame, { again: true, recorded });
    expect(harness.answerTo(second)).toMatchObject({ kind: 'decided', replayed: false });
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
    expect(harness.core.status().sequence).toBe(1);
  });

  it('is tried again if no instance has decided it', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']), { again: true });
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });

  it('is not tried again after its notAfter, and its sender learns that nothing was written', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: start }), { again: true });
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable', faults: [], code: null });
    expect(harness.last.persist.length).toBeGreaterThan(0);
    expect(harness.core.status()).toMatchObject({ undecided: 0, queued: 0 });
  });

  it('sends its callback an aborted event after its notAfter', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a'], { callback, notAfter: start });
    harness.arrive(frame, { again: true });
    const events = harness.last.persist.flatMap((write) =>
      write.kind === 'queue-events' ? write.events : [],
    );
    expect(events.map(({ type }) => type)).toEqual(['write.aborted']);
  });

  it('is not tried again once its callback has heard that it is aborted', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a'], { callback });
    const ticket = harness.arrive(frame, { again: true, abandoned: 'it was too late' });
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      reason: 'it was too late',
    });
    expect(harness.core.status()).toMatchObject({ undecided: 0, queued: 0 });
  });
});

describe('a coordinator with little room', () => {
  const full = { isFull: true, isPressed: true, keysKeptMs: 0 };
  const short = { ...full, isFull: false };
  const keyed = { idempotency: { key: 'once', digest: 'this' } };

  it('refuses every write when it is full, without storing anything', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']), { room: full });
    expect(harness.answerTo(ticket)).toEqual({ kind: 'full', what: 'writes' });
    expect(harness.last.persist).toEqual([]);
  });

  it('refuses writes with idempotency keys first, and carries the others out', () => {
    const harness = CoreHarness.begun();
    const refused = harness.arrive(frameOf(['a'], keyed), { room: short });
    expect(harness.answerTo(refused)).toEqual({ kind: 'full', what: 'keys' });
    const ticket = harness.arrive(frameOf(['b']), { room: short });
    harness.settle();
    expect(harness.record(ticket).outcome).toBe('committed');
  });

  it('still answers a repetition', () => {
    const harness = CoreHarness.begun();
    const first = harness.arrive(frameOf(['a'], keyed));
    harness.settle();
    const recorded = { record: harness.record(first), digest: 'this' };
    const ticket = harness.arrive(frameOf(['a'], keyed), { recorded, room: full });
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('returns until when the idempotency key is kept, by the free room at its arrival', () => {
    const harness = CoreHarness.begun();
    const room = { isFull: false, isPressed: true, keysKeptMs: 7_200_000 };
    const ticket = harness.arrive(frameOf(['a'], keyed), { room });
    const bare = harness.arrive(frameOf(['b']), { room });
    harness.settle();
    const { decidedAt, keptUntil } = harness.record(ticket);
    expect(keptUntil).toBe(decidedAt + 7_200_000);
    expect(harness.record(bare).keptUntil).toBeUndefined();
  });
});
