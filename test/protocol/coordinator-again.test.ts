import { describe, expect, it } from 'vitest';
import type { Callback } from '../../shared/contracts/webhooks-and-feed.ts';
import { frameOf, Rig, start } from './core-harness.ts';

const callback: Callback = {
  endpoint: 'cb_one',
  url: 'https://example.com/hook',
  secret: null,
  events: ['write.aborted'],
  values: false,
};

// The edge sends a write again under its own id where the coordinator that had it gave no answer.
describe('a write that comes again under its own id', () => {
  it('joins itself where it is still on its way', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a']);
    const first = rig.arrive(frame);
    const second = rig.arrive(frame, { again: true });
    expect(rig.core.status().undecided).toBe(1);
    rig.settle();
    expect(rig.record(second)).toEqual(rig.record(first));
    expect(rig.core.status().sequence).toBe(1);
  });

  it('is answered from its record, not as a repetition, and after a proof', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a']);
    const first = rig.arrive(frame);
    rig.settle();
    const recorded = { record: rig.record(first), digest: null };
    const second = rig.arrive(frame, { again: true, recorded });
    expect(rig.told(second)).toMatchObject({ kind: 'decided', replayed: false });
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
    expect(rig.core.status().sequence).toBe(1);
  });

  it('is tried anew where no instance has decided it', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']), { again: true });
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', sequence: 1 });
  });

  it('is not tried anew once its time is over, and its sender learns that nothing was written', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: start }), { again: true });
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable', faults: [], code: null });
    expect(rig.last.persist.length).toBeGreaterThan(0);
    expect(rig.core.status()).toMatchObject({ undecided: 0, queued: 0 });
  });

  it('tells who asked for it that it is aborted, when its time is over', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a'], { callback, notAfter: start });
    rig.arrive(frame, { again: true });
    const events = rig.last.persist.flatMap((write) => (write.kind === 'owe' ? write.events : []));
    expect(events.map(({ type }) => type)).toEqual(['write.aborted']);
  });

  it('is not tried anew where somebody was told that it is aborted', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a'], { callback });
    const ticket = rig.arrive(frame, { again: true, abandoned: 'it was too late' });
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable', reason: 'it was too late' });
    expect(rig.core.status()).toMatchObject({ undecided: 0, queued: 0 });
  });
});

describe('a coordinator with little room', () => {
  const full = { isFull: true, isPressed: true, keysKeptMs: 0 };
  const short = { ...full, isFull: false };
  const keyed = { idempotency: { key: 'once', digest: 'this' } };

  it('refuses every write when it is full, without storing anything', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']), { room: full });
    expect(rig.told(ticket)).toEqual({ kind: 'full', what: 'writes' });
    expect(rig.last.persist).toEqual([]);
  });

  it('refuses writes with keys before, and carries the others out', () => {
    const rig = Rig.greeted();
    const refused = rig.arrive(frameOf(['a'], keyed), { room: short });
    expect(rig.told(refused)).toEqual({ kind: 'full', what: 'keys' });
    const ticket = rig.arrive(frameOf(['b']), { room: short });
    rig.settle();
    expect(rig.record(ticket).outcome).toBe('committed');
  });

  it('answers a repetition all the same', () => {
    const rig = Rig.greeted();
    const first = rig.arrive(frameOf(['a'], keyed));
    rig.settle();
    const recorded = { record: rig.record(first), digest: 'this' };
    const ticket = rig.arrive(frameOf(['a'], keyed), { recorded, room: full });
    expect(rig.told(ticket)).toMatchObject({ kind: 'decided', replayed: true });
  });

  it('names in the answer the moment until which its key is kept, by the room at its arrival', () => {
    const rig = Rig.greeted();
    const room = { isFull: false, isPressed: true, keysKeptMs: 7_200_000 };
    const ticket = rig.arrive(frameOf(['a'], keyed), { room });
    const bare = rig.arrive(frameOf(['b']), { room });
    rig.settle();
    const { decidedAt, keptUntil } = rig.record(ticket);
    expect(keptUntil).toBe(decidedAt + 7_200_000);
    expect(rig.record(bare).keptUntil).toBeUndefined();
  });
});
