import { describe, expect, it } from 'vitest';
import type { CopyStep } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import type { StoredRegion } from '../../shared/protocol/io/stored.ts';
import { CoreHarness, frameOf, type HarnessOptions, start, timing } from './core-harness.ts';
import { readingOf } from './replies.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

const lost = outOf('far', { cause: 'lost', whole: true });

interface Given {
  readonly far?: StoredRegion;
  readonly missed?: Readonly<Record<string, number>>;
  readonly options?: HarnessOptions;
}

/** A harness in which `far` is out and about to answer a probe; by default it has missed `a` and `b`. */
function probed({
  far = outOf('far'),
  missed = { a: 8, b: 9 },
  options = {},
}: Given = {}): CoreHarness {
  const keys = Object.entries(missed);
  const stored = {
    epoch: 4,
    sequence: 9,
    regions: [voterOf('near'), voterOf('middle'), far],
    missed: [{ region: 'far', keys }],
    ...options.stored,
  };
  const harness = new CoreHarness({ ...options, stored });
  harness.tick();
  harness.run(20, others);
  while (harness.flightsTo('far').length === 0) harness.run(10, others);
  return harness;
}

/** The same, with the copy begun at its target. */
function begun(given: Given = {}): CoreHarness {
  const harness = probed(given);
  harness.execute(harness.flight('far'));
  harness.execute(harness.flight('far'));
  return harness;
}

/** The same, but everything is copied to `far`, which was lost and has nothing to remove. */
function listed(options: HarnessOptions = {}): CoreHarness {
  const harness = begun({ far: lost, missed: {}, options });
  harness.execute(stepOf(harness, 'list'));
  return harness;
}

/** The only round on its way with a step of a copy of this kind. */
function stepOf(harness: CoreHarness, kind: CopyStep['kind']): SentRound {
  const [only, ...more] = harness.flights.filter(({ round }) => round.copy?.kind === kind);
  if (only === undefined || more.length > 0) throw new Error(`one ${kind} is on its way`);
  return only;
}

// R34: nothing prepared or decided before can reach it any more.
describe('the start of a copy', () => {
  it('is stored with an epoch and a token of its own before it is sent', () => {
    const harness = probed();
    harness.execute(harness.flight('far'));
    const membership = expect.objectContaining({
      state: 'copying',
      token: '3-5',
      since: harness.now,
    });
    expect(harness.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', generation: 7, former: [], membership }),
    });
    expect(harness.last.persist).toContainEqual(
      expect.objectContaining({ kind: 'members', epoch: 5 }),
    );
    const { round } = harness.flight('far');
    expect(round.copy).toEqual({ kind: 'begin', token: '3-5', number: 1, replaces: [] });
    expect(round).toMatchObject({ role: 'copying', epoch: 5, generation: 7, begin: false });
  });

  it('sets the low watermark to the last assigned transaction, decided or not', () => {
    const harness = probed();
    for (const key of ['c', 'd']) harness.arrive(frameOf([key], lasting));
    harness.execute(harness.flight('far'));
    expect(harness.flight('far').round.lowWatermark).toEqual([3, 2]);
  });

  it('gives a region that was lost a generation of its own, which replaces its earlier ones', () => {
    const far = voterOf('far', { ...lost, former: [5], pair: [80, 'old'] });
    const harness = probed({ far, missed: {} });
    harness.end(harness.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    const { round } = harness.flight('far');
    expect(round).toMatchObject({ generation: harness.now, lastAcknowledged: null });
    expect(round.copy).toMatchObject({ kind: 'begin', replaces: [7, 5] });
    expect(harness.tables.regions.get('far')).toMatchObject({
      generation: harness.now,
      former: [7, 5],
      begun: false,
      pair: null,
    });
  });

  it('drops the region’s data if a loss there can no longer be ruled out', () => {
    const harness = probed();
    harness.end(harness.flight('far'), { kind: 'refused', refusal: { kind: 'history' } });
    expect(harness.statusOf('far')).toMatchObject({ cause: 'lost', missedKeys: null });
    const { round } = harness.flight('far');
    expect(round.copy?.kind).toBe('begin');
    expect(round.generation).toBeGreaterThan(start);
  });

  it('waits for a voter that can serve as the source', () => {
    const regions = [voterOf('near'), outOf('far', { since: start })];
    const harness = new CoreHarness({ regions: ['near', 'far'], stored: { regions } });
    harness.tick();
    harness.run(200, []);
    harness.run(500, ['far']);
    expect(harness.statusOf('far').state).toBe('out');
    harness.run(limits.probeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('happens in one region at a time', () => {
    const regions = [voterOf('near'), outOf('middle'), outOf('far')];
    const harness = new CoreHarness({ stored: { regions } });
    harness.tick();
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.changes.map(({ region, event }) => `${region} ${event}`)).toEqual([
      'middle copying',
      'middle returned',
      'far copying',
      'far returned',
    ]);
  });
});

describe('a region that receives a copy', () => {
  it('casts no votes and is sent no decisions, and every decision marks its keys as missed', () => {
    const harness = listed();
    const ticket = harness.arrive(frameOf(['c'], lasting));
    harness.executeAll(others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(harness.tables.missed.get('far')?.get('c')).toBe(harness.record(ticket).sequence);
    for (const { round } of harness.rounds.filter(({ region }) => region === 'far')) {
      expect(round).toMatchObject({ decisions: [], prepares: [], lease: null });
    }
  });

  it('acknowledges each step of its copy like any round: both ends pass the loss check', () => {
    const harness = listed();
    harness.execute(stepOf(harness, 'scan'), { copy: readingOf(['a'], { total: 1 }) });
    const write = stepOf(harness, 'write');
    expect(write.round.lastAcknowledged).toEqual([2, expect.any(String)]);
    harness.end(write, { kind: 'refused', refusal: { kind: 'lost' } });
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'lost' });
  });

  it('gets no copy step together with prepares: no vote waits for a copy', () => {
    const harness = listed({ connections: 3 });
    harness.arrive(frameOf(['c'], lasting));
    harness.arrive(frameOf(['d'], lasting));
    const source = stepOf(harness, 'scan');
    harness.execute(source, { copy: readingOf([], { cursor: '9', total: 10 }) });
    harness.run(500);
    const preparing = harness.rounds.filter(({ round }) => round.prepares.length > 0);
    expect(preparing.filter(({ region }) => region === source.region)).toHaveLength(2);
    expect(preparing.filter(({ round }) => round.copy !== null)).toEqual([]);
    expect(harness.rounds).toContainEqual(
      expect.objectContaining({
        round: expect.objectContaining({ copy: expect.objectContaining({ cursor: '9' }) }),
      }),
    );
  });

  it('has its missed keys settled in storage as they are written, and no sooner', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'read'));
    expect(harness.tables.missed.get('far')?.size).toBe(2);
    harness.execute(stepOf(harness, 'write'));
    expect(harness.last.persist).toContainEqual({
      kind: 'copied',
      region: 'far',
      keys: ['a', 'b'],
    });
    expect(harness.tables.missed.get('far')?.size).toBe(0);
  });

  it('is copied from the nearest voter, and from the start from another if that one has lost writes', () => {
    const harness = listed();
    const scan = stepOf(harness, 'scan');
    harness.execute(scan, { copy: readingOf(['a'], { cursor: '17', total: 1_000 }) });
    harness.end(stepOf(harness, 'scan'), { kind: 'refused', refusal: { kind: 'lost' } });
    const next = stepOf(harness, 'scan');
    expect(next.region).not.toBe(scan.region);
    expect(next.round.copy).toMatchObject({ cursor: '0' });
  });

  it('continues its copy if its source fails to answer once', () => {
    const harness = listed();
    harness.execute(stepOf(harness, 'scan'), {
      copy: readingOf(['a'], { cursor: '17', total: 1_000 }),
    });
    const unanswered = stepOf(harness, 'scan');
    harness.silence(unanswered);
    harness.run(limits.probeBackoffMaxMs, others);
    const next = harness.rounds.filter(({ round }) => round.copy?.kind === 'scan').at(-1);
    expect(next).toMatchObject({ region: unanswered.region, round: { copy: { cursor: '17' } } });
    expect(next).not.toBe(unanswered);
  });

  it('is evicted again after outAfterMs of silence, and is copied under a new token when it answers', () => {
    const harness = begun();
    harness.run(timing.outAfterMs + 100, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent' });
    harness.run(limits.outProbeBackoffMaxMs + limits.copyPauseMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const tokens = harness.rounds.flatMap(({ round }) =>
      round.copy?.kind === 'begin' ? [round.copy.token] : [],
    );
    expect(new Set(tokens)).toEqual(new Set(['3-5', '3-7']));
  });

  it('that refuses the token is evicted again, and retried after a pause', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'read'));
    harness.execute(stepOf(harness, 'write'), { copy: { kind: 'refused', by: 'token' } });
    expect(harness.statusOf('far').state).toBe('out');
    expect(harness.tables.missed.get('far')?.size).toBe(2);
    const before = harness.changes.length;
    harness.run(limits.copyPauseMs - 1);
    expect(harness.changes).toHaveLength(before);
    harness.run(limits.copyPauseMs);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('continues under a new token after a crash, without the keys that were settled before', () => {
    const before = begun();
    before.execute(stepOf(before, 'read'), { copy: readingOf(['a'], { left: ['b'] }) });
    before.execute(stepOf(before, 'write'));
    const harness = before.restarted();
    harness.tick();
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: 1 });
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const steps = harness.rounds.flatMap(({ round }) => (round.copy === null ? [] : [round.copy]));
    expect(steps).toMatchObject([
      { kind: 'begin', token: '4-6', number: 1 },
      { kind: 'read', keys: [{ key: 'b' }] },
      { kind: 'write', token: '4-6', number: 2 },
    ]);
  });

  it('ignores answers to the steps of an earlier copy that was given up', () => {
    const harness = begun();
    harness.execute(stepOf(harness, 'read'));
    const late = stepOf(harness, 'write');
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.command({ kind: 'return', region: 'far', whole: false, force: false });
    const steps = () => harness.flights.filter(({ round }) => round.copy?.kind === 'write');
    while (steps().length < 2) {
      for (const send of harness.flights) if (!steps().includes(send)) harness.execute(send);
      harness.advance(10);
    }
    harness.execute(late);
    expect(harness.tables.missed.get('far')?.size).toBe(2);
    expect(harness.statusOf('far').state).toBe('copying');
  });

  it('shows the progress of its copy', () => {
    const harness = listed();
    harness.advance(1_000);
    harness.execute(stepOf(harness, 'scan'), {
      copy: readingOf(['a', 'b'], { cursor: '9', total: 10 }),
    });
    harness.execute(stepOf(harness, 'write'));
    expect(harness.statusOf('far').copy).toMatchObject({
      whole: true,
      phase: 'keys',
      done: 2,
      left: 8,
      keysPerSecond: 2,
      etaMs: 4_000,
    });
    expect(harness.statusOf('near').copy).toBeNull();
  });
});
