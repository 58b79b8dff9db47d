import { describe, expect, it } from 'vitest';
import type { CopyStep } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { CoreHarness, frameOf, timing } from './core-harness.ts';
import { readingOf } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A harness in which `far` has missed the given number of keys, and its copy has begun. */
function begun(missed = 2): CoreHarness {
  const keys = Array.from({ length: missed }, (_, at) => [`m${at}`, 9] as const);
  const regions = [voterOf('near'), voterOf('middle'), outOf('far')];
  const stored = { epoch: 4, sequence: 9, regions, missed: [{ region: 'far', keys }] };
  const harness = new CoreHarness({ stored });
  harness.tick();
  harness.run(20, others);
  while (harness.flightsTo('far').length === 0) harness.run(10, others);
  harness.execute(harness.flight('far'));
  return harness;
}

/** The only round on its way with a step of a copy of this kind. */
function stepOf(harness: CoreHarness, kind: CopyStep['kind']): SentRound {
  const [only, ...more] = harness.flights.filter(({ round }) => round.copy?.kind === kind);
  if (only === undefined || more.length > 0) throw new Error(`one ${kind} is on its way`);
  return only;
}

// R37: it holds all that was decided, and votes on all that will be.
describe('the write pause', () => {
  it('begins when few keys are left: nothing new begins, and writes wait', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    expect(harness.core.status().held).toBe(true);
    harness.arrive(frameOf(['c'], lasting));
    expect(harness.core.status()).toMatchObject({ undecided: 0, queued: 1 });
    expect(harness.statusOf('far').copy?.phase).toBe('hold');
  });

  it('names the region that returns to each caller that has no time to wait', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const ticket = harness.arrive(frameOf(['c'], { notAfter: harness.now + 50 }));
    harness.run(50, others);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: expect.stringContaining('last keys') }],
    });
  });

  it('does not begin while more keys are left: they are copied while writes go on', () => {
    const harness = begun(limits.copyWritePauseKeys + 1);
    harness.execute(stepOf(harness, 'begin'));
    expect(harness.core.status().held).toBe(false);
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.execute(stepOf(harness, 'read'));
    harness.run(20);
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('does not begin while a key that was read is not written', () => {
    const harness = begun(limits.copyWritePauseKeys + 1);
    harness.execute(stepOf(harness, 'begin'));
    harness.execute(stepOf(harness, 'read'));
    expect(harness.core.status().held).toBe(false);
  });

  it('waits for undecided transactions, and reads its keys after that', () => {
    const harness = begun();
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.execute(stepOf(harness, 'begin'));
    expect(harness.core.status()).toMatchObject({ held: true, undecided: 1 });
    expect(harness.flights.filter(({ round }) => round.copy !== null)).toEqual([]);
    harness.executeAll(others);
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed' });
    for (const send of harness.flights) if (send.round.decisions.length > 0) harness.execute(send);
    expect(stepOf(harness, 'read').round.copy).toMatchObject({
      keys: [{ key: 'm0' }, { key: 'm1' }, { key: 'c' }],
    });
  });

  it('waits until the source has applied the decisions', () => {
    const harness = begun();
    harness.arrive(frameOf(['c'], lasting));
    harness.executeAll(others);
    const commits = harness.flights.filter(({ round }) => round.decisions.length > 0);
    expect(commits).toHaveLength(2);
    harness.execute(stepOf(harness, 'begin'));
    expect(harness.flights.filter(({ round }) => round.copy !== null)).toEqual([]);
    for (const send of commits) harness.execute(send);
    expect(stepOf(harness, 'read').round.copy).toMatchObject({ kind: 'read' });
  });

  it('ends with the vote in a new epoch, stored in one step, and the writes that waited go to all', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const ticket = harness.arrive(frameOf(['m0'], lasting));
    harness.execute(stepOf(harness, 'read'));
    harness.execute(stepOf(harness, 'write'));
    expect(harness.last.persist).toContainEqual(
      expect.objectContaining({
        kind: 'members',
        epoch: 6,
        changes: [expect.objectContaining({ region: 'far', event: 'returned', cause: null })],
      }),
    );
    const membership = { state: 'voter', since: harness.now, leaving: null };
    expect(harness.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', membership }),
    });
    expect(harness.core.status()).toMatchObject({ held: false, epoch: 6 });
    harness.run(20);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(harness.regions);
    expect(harness.tables.missed.get('far')?.size).toBe(0);
  });

  it('is followed by a round for a voter that asks for older locks, before anything counts as settled', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    harness.execute(stepOf(harness, 'read'));
    harness.execute(stepOf(harness, 'write'));
    expect(harness.flight('far').round).toMatchObject({
      role: 'voter',
      epoch: 6,
      askOlder: true,
      lowWatermark: [0, 0],
      copy: null,
    });
  });

  it('takes two rounds: one to the source and one to the region', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const heldAt = harness.rounds.length;
    expect(stepOf(harness, 'read').round.copy).toMatchObject({ kind: 'read' });
    harness.execute(stepOf(harness, 'read'));
    harness.execute(stepOf(harness, 'write'));
    expect(harness.core.status().held).toBe(false);
    const steps = harness.rounds.slice(heldAt).filter(({ round }) => round.copy !== null);
    expect(steps.map(({ round }) => round.copy?.kind)).toEqual(['write']);
  });

  it('begins though writes go on that miss new keys all the time', () => {
    const harness = begun(limits.copyWritePauseKeys + 1);
    let written = 0;
    while (!harness.core.status().held && written < 100) {
      harness.arrive(frameOf([`n${written}`], lasting));
      written += 1;
      for (const send of harness.flights) harness.execute(send);
      harness.advance(10);
    }
    expect(harness.core.status().held).toBe(true);
    expect(written).toBeLessThan(10);
  });

  it('ends early if its keys do not fit one step: they are copied without it, and it comes again at once', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.execute(stepOf(harness, 'read'), { copy: readingOf(['m0'], { left: ['m1'] }) });
    expect(harness.core.status().held).toBe(false);
    const { now } = harness;
    harness.executeAll(others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    harness.run(20);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.now - now).toBeLessThan(limits.copyPauseMs);
  });

  it('ends early only a bounded number of times if a large key is written meanwhile, and then copies it', () => {
    const harness = begun(1);
    let holds = 0;
    let outgrown = 0;
    for (let turn = 0; turn < 200 && harness.statusOf('far').state === 'copying'; turn++) {
      if (!harness.core.status().held) harness.arrive(frameOf(['m0'], lasting));
      for (const send of harness.flights) {
        const { held } = harness.core.status();
        const isTooMuch = held && outgrown < holds && send.round.copy?.kind === 'read';
        if (isTooMuch) outgrown += 1;
        harness.execute(send, isTooMuch ? { copy: readingOf([], { left: ['m0'] }) } : {});
        if (!held && harness.core.status().held) holds += 1;
      }
      harness.advance(10);
    }
    expect(harness.statusOf('far').state).toBe('voter');
    expect({ holds, outgrown }).toEqual({
      holds: limits.copyWritePausesCutShort + 1,
      outgrown: limits.copyWritePausesCutShort + 1,
    });
  });

  it('is given up if it does not end in time: the writes go on, and the next one comes after a pause', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const heldAt = harness.now;
    const read = stepOf(harness, 'read');
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.run(limits.copyWritePauseMs - 1, others, [read]);
    expect(harness.core.status().held).toBe(true);
    harness.run(1, others, [read]);
    expect(harness.core.status().held).toBe(false);
    harness.execute(read, { copy: readingOf([], { locked: ['m0', 'm1'] }) });
    harness.run(20, others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    harness.run(heldAt + limits.copyWritePauseMs + limits.copyPauseMs - harness.now - 1);
    expect(harness.core.status().held).toBe(false);
    expect(harness.statusOf('far').state).toBe('copying');
    harness.run(1);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('also copies the keys that were missed after it had been given up', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    const read = stepOf(harness, 'read');
    harness.run(limits.copyWritePauseMs, others, [read]);
    harness.arrive(frameOf(['m0'], lasting));
    harness.run(20, others, [read]);
    harness.execute(read);
    harness.execute(stepOf(harness, 'write'));
    expect([...(harness.tables.missed.get('far') ?? [])].map(([key]) => key)).toEqual(['m0']);
    harness.run(limits.copyPauseMs + 100);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.tables.missed.get('far')?.size).toBe(0);
  });

  it('reads keys again that were locked before', () => {
    const harness = begun(limits.copyWritePauseKeys + 1);
    harness.execute(stepOf(harness, 'begin'));
    const keys = Array.from({ length: limits.copyWritePauseKeys }, (_, at) => `m${at}`);
    const locked = [`m${limits.copyWritePauseKeys}`];
    harness.execute(stepOf(harness, 'read'), { copy: readingOf(keys, { locked }) });
    harness.execute(stepOf(harness, 'write'));
    expect(harness.core.status().held).toBe(false);
    harness.execute(stepOf(harness, 'read'), { copy: readingOf([], { locked }) });
    expect(harness.core.status().held).toBe(true);
    expect(stepOf(harness, 'read').round.copy).toMatchObject({
      keys: [{ key: locked[0], from: '' }],
    });
  });

  it('ends with the copy if the region falls silent in it, and the writes go on', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'begin'));
    harness.execute(stepOf(harness, 'read'));
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.run(timing.outAfterMs + 200, others);
    expect(harness.statusOf('far').state).toBe('out');
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(harness.core.status().held).toBe(false);
  });
});
