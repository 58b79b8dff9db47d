import { describe, expect, it } from 'vitest';
import type { CopyStep } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound, StoredRegion } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, type RigOptions, start, timing } from './core-harness.ts';
import { readingOf } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

const lost = outOf('far', { cause: 'lost', whole: true });

interface Given {
  readonly far?: StoredRegion;
  readonly missed?: Readonly<Record<string, number>>;
  readonly options?: RigOptions;
}

/** A rig in which `far` is out and about to answer a probe; by default it has missed `a` and `b`. */
function probed({ far = outOf('far'), missed = { a: 8, b: 9 }, options = {} }: Given = {}): Rig {
  const keys = Object.entries(missed);
  const stored = {
    epoch: 4,
    sequence: 9,
    regions: [voterOf('near'), voterOf('middle'), far],
    missed: [{ region: 'far', keys }],
    ...options.stored,
  };
  const rig = new Rig({ ...options, stored });
  rig.tick();
  rig.run(20, others);
  while (rig.flightsTo('far').length === 0) rig.run(10, others);
  return rig;
}

/** The same, with the copy begun at its target. */
function begun(given: Given = {}): Rig {
  const rig = probed(given);
  rig.execute(rig.flight('far'));
  rig.execute(rig.flight('far'));
  return rig;
}

/** The same where everything is copied to `far`, which was lost, with nothing to remove there. */
function listed(options: RigOptions = {}): Rig {
  const rig = begun({ far: lost, missed: {}, options });
  rig.execute(stepOf(rig, 'list'));
  return rig;
}

/** The only round on its way with a step of a copy of this kind. */
function stepOf(rig: Rig, kind: CopyStep['kind']): SentRound {
  const [only, ...more] = rig.flights.filter(({ round }) => round.copy?.kind === kind);
  if (only === undefined || more.length > 0) throw new Error(`one ${kind} is on its way`);
  return only;
}

// R34: nothing prepared or decided before can reach it any more.
describe('the beginning of a copy', () => {
  it('is stored with an epoch and a token of its own before it is sent', () => {
    const rig = probed();
    rig.execute(rig.flight('far'));
    const membership = expect.objectContaining({ state: 'copying', token: '3-5', since: rig.now });
    expect(rig.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', generation: 7, former: [], membership }),
    });
    expect(rig.last.persist).toContainEqual(expect.objectContaining({ kind: 'members', epoch: 5 }));
    const { round } = rig.flight('far');
    expect(round.copy).toEqual({ kind: 'begin', token: '3-5', number: 1, replaces: [] });
    expect(round).toMatchObject({ role: 'copying', epoch: 5, generation: 7, begin: false });
  });

  it('takes the floor at the last transaction given out, decided or not', () => {
    const rig = probed();
    for (const key of ['c', 'd']) rig.arrive(frameOf([key], lasting));
    rig.execute(rig.flight('far'));
    expect(rig.flight('far').round.floor).toEqual([3, 2]);
  });

  it('gives a region that was lost a generation of its own, which replaces those that it had', () => {
    const far = voterOf('far', { ...lost, former: [5], pair: [80, 'old'] });
    const rig = probed({ far, missed: {} });
    rig.end(rig.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    const { round } = rig.flight('far');
    expect(round).toMatchObject({ generation: rig.now, seen: null });
    expect(round.copy).toMatchObject({ kind: 'begin', replaces: [7, 5] });
    expect(rig.tables.regions.get('far')).toMatchObject({
      generation: rig.now,
      former: [7, 5],
      begun: false,
      pair: null,
    });
  });

  it('drops what the region has where nobody can tell any more whether it lost something', () => {
    const rig = probed();
    rig.end(rig.flight('far'), { kind: 'refused', refusal: { kind: 'history' } });
    expect(rig.statusOf('far')).toMatchObject({ cause: 'lost', missedKeys: null });
    const { round } = rig.flight('far');
    expect(round.copy?.kind).toBe('begin');
    expect(round.generation).toBeGreaterThan(start);
  });

  it('waits for a voter that can be copied from', () => {
    const regions = [voterOf('near'), outOf('far', { since: start })];
    const rig = new Rig({ regions: ['near', 'far'], stored: { regions } });
    rig.tick();
    rig.run(200, []);
    rig.run(500, ['far']);
    expect(rig.statusOf('far').state).toBe('out');
    rig.run(limits.probeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('is made for one region at a time', () => {
    const regions = [voterOf('near'), outOf('middle'), outOf('far')];
    const rig = new Rig({ stored: { regions } });
    rig.tick();
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.changes.map(({ region, event }) => `${region} ${event}`)).toEqual([
      'middle copying',
      'middle returned',
      'far copying',
      'far returned',
    ]);
  });
});

describe('a region that is copied', () => {
  it('votes on nothing, is told nothing, and every decision marks its keys', () => {
    const rig = listed();
    const ticket = rig.arrive(frameOf(['c'], lasting));
    rig.executeAll(others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(rig.tables.missed.get('far')?.get('c')).toBe(rig.record(ticket).sequence);
    for (const { round } of rig.rounds.filter(({ region }) => region === 'far')) {
      expect(round).toMatchObject({ decisions: [], prepares: [], lease: null });
    }
  });

  it('has every step of its copy acknowledged like any round: both ends pass the loss check', () => {
    const rig = listed();
    rig.execute(stepOf(rig, 'scan'), { copy: readingOf(['a'], { total: 1 }) });
    const write = stepOf(rig, 'write');
    expect(write.round.seen).toEqual([2, expect.any(String)]);
    rig.end(write, { kind: 'refused', refusal: { kind: 'lost' } });
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'lost' });
  });

  it('gets no step with a round of prepares: no vote waits for a copy', () => {
    const rig = listed({ connections: 3 });
    rig.arrive(frameOf(['c'], lasting));
    rig.arrive(frameOf(['d'], lasting));
    const source = stepOf(rig, 'scan');
    rig.execute(source, { copy: readingOf([], { cursor: '9', total: 10 }) });
    rig.run(500);
    const preparing = rig.rounds.filter(({ round }) => round.prepares.length > 0);
    expect(preparing.filter(({ region }) => region === source.region)).toHaveLength(2);
    expect(preparing.filter(({ round }) => round.copy !== null)).toEqual([]);
    expect(rig.rounds).toContainEqual(
      expect.objectContaining({
        round: expect.objectContaining({ copy: expect.objectContaining({ cursor: '9' }) }),
      }),
    );
  });

  it('has its marks settled in storage as its keys are written, and no sooner', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'read'));
    expect(rig.tables.missed.get('far')?.size).toBe(2);
    rig.execute(stepOf(rig, 'write'));
    expect(rig.last.persist).toContainEqual({ kind: 'copied', region: 'far', keys: ['a', 'b'] });
    expect(rig.tables.missed.get('far')?.size).toBe(0);
  });

  it('is read from the voter that is nearest, and anew from another where that one has lost writes', () => {
    const rig = listed();
    const scan = stepOf(rig, 'scan');
    rig.execute(scan, { copy: readingOf(['a'], { cursor: '17', total: 1_000 }) });
    rig.end(stepOf(rig, 'scan'), { kind: 'refused', refusal: { kind: 'lost' } });
    const next = stepOf(rig, 'scan');
    expect(next.region).not.toBe(scan.region);
    expect(next.round.copy).toMatchObject({ cursor: '0' });
  });

  it('goes on where it was when its source has not answered once', () => {
    const rig = listed();
    rig.execute(stepOf(rig, 'scan'), { copy: readingOf(['a'], { cursor: '17', total: 1_000 }) });
    const unanswered = stepOf(rig, 'scan');
    rig.silence(unanswered);
    rig.run(limits.probeBackoffMaxMs, others);
    const next = rig.rounds.filter(({ round }) => round.copy?.kind === 'scan').at(-1);
    expect(next).toMatchObject({ region: unanswered.region, round: { copy: { cursor: '17' } } });
    expect(next).not.toBe(unanswered);
  });

  it('is out again where it is silent for outAfterMs, and is copied under a new token when it answers', () => {
    const rig = begun();
    rig.run(timing.outAfterMs + 100, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent' });
    rig.run(limits.outProbeBackoffMaxMs + limits.copyPauseMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const tokens = rig.rounds.flatMap(({ round }) =>
      round.copy?.kind === 'begin' ? [round.copy.token] : [],
    );
    expect(new Set(tokens)).toEqual(new Set(['3-5', '3-7']));
  });

  it('that refuses the token is out again, and tried again after a pause', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'read'));
    rig.execute(stepOf(rig, 'write'), { copy: { kind: 'refused', by: 'token' } });
    expect(rig.statusOf('far').state).toBe('out');
    expect(rig.tables.missed.get('far')?.size).toBe(2);
    const before = rig.changes.length;
    rig.run(limits.copyPauseMs - 1);
    expect(rig.changes).toHaveLength(before);
    rig.run(limits.copyPauseMs);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('goes on under a new token after a crash, without the marks that were settled before', () => {
    const before = begun();
    before.execute(stepOf(before, 'read'), { copy: readingOf(['a'], { left: ['b'] }) });
    before.execute(stepOf(before, 'write'));
    const rig = before.restarted();
    rig.tick();
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: 1 });
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const steps = rig.rounds.flatMap(({ round }) => (round.copy === null ? [] : [round.copy]));
    expect(steps).toMatchObject([
      { kind: 'begin', token: '4-6', number: 1 },
      { kind: 'read', keys: [{ key: 'b' }] },
      { kind: 'write', token: '4-6', number: 2 },
    ]);
  });

  it('does not count what was on its way when an earlier copy of it was given up', () => {
    const rig = begun();
    rig.execute(stepOf(rig, 'read'));
    const late = stepOf(rig, 'write');
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.order({ kind: 'return', region: 'far', whole: false, force: false });
    const steps = () => rig.flights.filter(({ round }) => round.copy?.kind === 'write');
    while (steps().length < 2) {
      for (const send of rig.flights) if (!steps().includes(send)) rig.execute(send);
      rig.advance(10);
    }
    rig.execute(late);
    expect(rig.tables.missed.get('far')?.size).toBe(2);
    expect(rig.statusOf('far').state).toBe('copying');
  });

  it('shows how far it has come', () => {
    const rig = listed();
    rig.advance(1_000);
    rig.execute(stepOf(rig, 'scan'), { copy: readingOf(['a', 'b'], { cursor: '9', total: 10 }) });
    rig.execute(stepOf(rig, 'write'));
    expect(rig.statusOf('far').copy).toMatchObject({
      whole: true,
      phase: 'keys',
      done: 2,
      left: 8,
      keysPerSecond: 2,
      etaMs: 4_000,
    });
    expect(rig.statusOf('near').copy).toBeNull();
  });
});
