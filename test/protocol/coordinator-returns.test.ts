import { describe, expect, it } from 'vitest';
import type { CopyStep } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, timing } from './core-harness.ts';
import { readingOf } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A rig in which `far` has missed so many keys, and its copy has begun. */
function begun(missed = 2): Rig {
  const keys = Array.from({ length: missed }, (_, at) => [`m${at}`, 9] as const);
  const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
  const stored = { epoch: 4, sequence: 9, regions, missed: [{ region: 'far', keys }] };
  const rig = new Rig({ stored });
  rig.tick();
  rig.run(20, others);
  while (rig.flightsTo('far').length === 0) rig.run(10, others);
  rig.execute(rig.flight('far'));
  return rig;
}

/** The only round on its way with a step of a copy of this kind. */
function stepOf(rig: Rig, kind: CopyStep['kind']): SentRound {
  const [only, ...more] = rig.flights.filter(({ round }) => round.copy?.kind === kind);
  if (only === undefined || more.length > 0) throw new Error(`one ${kind} is on its way`);
  return only;
}

// R37: it holds all that was decided, and votes on all that will be.
describe('the hold', () => {
  it('begins when few keys are left: nothing new begins, and writes wait', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    expect(rig.core.status().held).toBe(true);
    rig.arrive(frameOf(['c'], lasting));
    expect(rig.core.status()).toMatchObject({ undecided: 0, queued: 1 });
    expect(rig.statusOf('far').copy?.phase).toBe('hold');
  });

  it('names the region that returns to whoever has no time to wait', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const ticket = rig.arrive(frameOf(['c'], { notAfter: rig.now + 50 }));
    rig.run(50, others);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: expect.stringContaining('last keys') }],
    });
  });

  it('does not begin while more keys are left: they are copied while writes go on', () => {
    const rig = begun(limits.copyHoldKeys + 1);
    rig.execute(stepOf(rig, 'begin'));
    expect(rig.core.status().held).toBe(false);
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.execute(stepOf(rig, 'read'));
    rig.run(20);
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('does not begin while a key that was read is not written', () => {
    const rig = begun(limits.copyHoldKeys + 1);
    rig.execute(stepOf(rig, 'begin'));
    rig.execute(stepOf(rig, 'read'));
    expect(rig.core.status().held).toBe(false);
  });

  it('waits for what is undecided, and reads its keys after that', () => {
    const rig = begun();
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.execute(stepOf(rig, 'begin'));
    expect(rig.core.status()).toMatchObject({ held: true, undecided: 1 });
    expect(rig.flights.filter(({ round }) => round.copy !== null)).toEqual([]);
    rig.executeAll(others);
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed' });
    for (const send of rig.flights) if (send.round.decisions.length > 0) rig.execute(send);
    expect(stepOf(rig, 'read').round.copy).toMatchObject({
      keys: [{ key: 'm0' }, { key: 'm1' }, { key: 'c' }],
    });
  });

  it('waits until the source has applied what was decided', () => {
    const rig = begun();
    rig.arrive(frameOf(['c'], lasting));
    rig.executeAll(others);
    const commits = rig.flights.filter(({ round }) => round.decisions.length > 0);
    expect(commits).toHaveLength(2);
    rig.execute(stepOf(rig, 'begin'));
    expect(rig.flights.filter(({ round }) => round.copy !== null)).toEqual([]);
    for (const send of commits) rig.execute(send);
    expect(stepOf(rig, 'read').round.copy).toMatchObject({ kind: 'read' });
  });

  it('ends with the vote in a new epoch, stored in one step, and the writes that waited go to all', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const ticket = rig.arrive(frameOf(['m0'], lasting));
    rig.execute(stepOf(rig, 'read'));
    rig.execute(stepOf(rig, 'write'));
    expect(rig.last.persist).toContainEqual(
      expect.objectContaining({
        kind: 'members',
        epoch: 6,
        changes: [expect.objectContaining({ region: 'far', event: 'returned', cause: null })],
      }),
    );
    const membership = { state: 'voter', since: rig.now, leaving: null };
    expect(rig.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', membership }),
    });
    expect(rig.core.status()).toMatchObject({ held: false, epoch: 6 });
    rig.run(20);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(rig.regions);
    expect(rig.tables.missed.get('far')?.size).toBe(0);
  });

  it('is followed by a round for a voter that asks for older locks, before anything counts as settled', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    rig.execute(stepOf(rig, 'read'));
    rig.execute(stepOf(rig, 'write'));
    expect(rig.flight('far').round).toMatchObject({
      role: 'voter',
      epoch: 6,
      askOlder: true,
      floor: [0, 0],
      copy: null,
    });
  });

  it('takes two rounds: one to the source and one to the region', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const heldAt = rig.rounds.length;
    expect(stepOf(rig, 'read').round.copy).toMatchObject({ kind: 'read' });
    rig.execute(stepOf(rig, 'read'));
    rig.execute(stepOf(rig, 'write'));
    expect(rig.core.status().held).toBe(false);
    const steps = rig.rounds.slice(heldAt).filter(({ round }) => round.copy !== null);
    expect(steps.map(({ round }) => round.copy?.kind)).toEqual(['write']);
  });

  it('begins though writes go on that miss new keys all the time', () => {
    const rig = begun(limits.copyHoldKeys + 1);
    let written = 0;
    while (!rig.core.status().held && written < 100) {
      rig.arrive(frameOf([`n${written}`], lasting));
      written += 1;
      for (const send of rig.flights) rig.execute(send);
      rig.advance(10);
    }
    expect(rig.core.status().held).toBe(true);
    expect(written).toBeLessThan(10);
  });

  it('is cut short where its keys do not fit one step: they go without it, and it comes again at once', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.execute(stepOf(rig, 'read'), { copy: readingOf(['m0'], { left: ['m1'] }) });
    expect(rig.core.status().held).toBe(false);
    const { now } = rig;
    rig.executeAll(others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    rig.run(20);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.now - now).toBeLessThan(limits.copyPauseMs);
  });

  it('is cut short only so many times where a large key is written to in between, and then copies it', () => {
    const rig = begun(1);
    let holds = 0;
    let outgrown = 0;
    for (let turn = 0; turn < 200 && rig.statusOf('far').state === 'copying'; turn++) {
      if (!rig.core.status().held) rig.arrive(frameOf(['m0'], lasting));
      for (const send of rig.flights) {
        const { held } = rig.core.status();
        const isTooMuch = held && outgrown < holds && send.round.copy?.kind === 'read';
        if (isTooMuch) outgrown += 1;
        rig.execute(send, isTooMuch ? { copy: readingOf([], { left: ['m0'] }) } : {});
        if (!held && rig.core.status().held) holds += 1;
      }
      rig.advance(10);
    }
    expect(rig.statusOf('far').state).toBe('voter');
    expect({ holds, outgrown }).toEqual({
      holds: limits.copyHoldsCutShort + 1,
      outgrown: limits.copyHoldsCutShort + 1,
    });
  });

  it('is given up where it does not end in time: the writes go on, and the next one comes after a pause', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const heldAt = rig.now;
    const read = stepOf(rig, 'read');
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.run(limits.copyWritePauseMs - 1, others, [read]);
    expect(rig.core.status().held).toBe(true);
    rig.run(1, others, [read]);
    expect(rig.core.status().held).toBe(false);
    rig.execute(read, { copy: readingOf([], { locked: ['m0', 'm1'] }) });
    rig.run(20, others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    rig.run(heldAt + limits.copyWritePauseMs + limits.copyPauseMs - rig.now - 1);
    expect(rig.core.status().held).toBe(false);
    expect(rig.statusOf('far').state).toBe('copying');
    rig.run(1);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('copies what was missed after it had been given up, too', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    const read = stepOf(rig, 'read');
    rig.run(limits.copyWritePauseMs, others, [read]);
    rig.arrive(frameOf(['m0'], lasting));
    rig.run(20, others, [read]);
    rig.execute(read);
    rig.execute(stepOf(rig, 'write'));
    expect([...(rig.tables.missed.get('far') ?? [])].map(([key]) => key)).toEqual(['m0']);
    rig.run(limits.copyPauseMs + 100);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.tables.missed.get('far')?.size).toBe(0);
  });

  it('reads keys again that were locked, now that nothing holds them', () => {
    const rig = begun(limits.copyHoldKeys + 1);
    rig.execute(stepOf(rig, 'begin'));
    const keys = Array.from({ length: limits.copyHoldKeys }, (_, at) => `m${at}`);
    const locked = [`m${limits.copyHoldKeys}`];
    rig.execute(stepOf(rig, 'read'), { copy: readingOf(keys, { locked }) });
    rig.execute(stepOf(rig, 'write'));
    expect(rig.core.status().held).toBe(false);
    rig.execute(stepOf(rig, 'read'), { copy: readingOf([], { locked }) });
    expect(rig.core.status().held).toBe(true);
    expect(stepOf(rig, 'read').round.copy).toMatchObject({
      keys: [{ key: locked[0], from: '' }],
    });
  });

  it('ends with the copy where the region falls silent in it, and the writes go on', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'begin'));
    rig.execute(stepOf(rig, 'read'));
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.run(timing.outAfterMs + 200, others);
    expect(rig.statusOf('far').state).toBe('out');
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(rig.core.status().held).toBe(false);
  });
});
