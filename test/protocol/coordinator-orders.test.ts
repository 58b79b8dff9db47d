import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, type RigOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A greeted rig in which no lease is left that an earlier life could have granted. */
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
  return rig;
}

const putOutFar = { kind: 'put-out', region: 'far', reason: 'for repairs' } as const;
const returnFar = { kind: 'return', region: 'far', whole: false, force: false } as const;

/** The kinds of all steps of copies, in order. */
function copySteps(rig: Rig): readonly string[] {
  return rig.rounds.flatMap(({ round }) => (round.copy === null ? [] : [round.copy.kind]));
}

/** A rig of two regions of which `far` is out, as `given` says. */
function without(given: Parameters<typeof outOf>[1] = {}, stored: RigOptions['stored'] = {}): Rig {
  const regions = [voterOf('near'), outOf('far', given)];
  const rig = new Rig({ regions: ['near', 'far'], stored: { regions, ...stored } });
  rig.tick();
  return rig;
}

/** The same, with `far` about to answer its first probe. */
function probed(given: Parameters<typeof outOf>[1] = {}): Rig {
  const rig = without(given);
  rig.run(limits.probeBackoffMinMs, ['near']);
  return rig;
}

describe('an order', () => {
  it('is stored in the step that answers it', () => {
    const rig = calm();
    rig.order(putOutFar);
    const membership = expect.objectContaining({
      leaving: { cause: 'ordered', detail: 'for repairs', whole: false, held: true },
    });
    expect(rig.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', membership }),
    });
  });

  it('that is refused is answered with a proof all the same', () => {
    const rig = calm();
    expect(rig.order({ ...putOutFar, region: 'nowhere' }).kind).toBe('unknown-region');
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it.each([
    { ...putOutFar, region: 'nowhere' },
    { ...returnFar, region: 'nowhere' },
    { kind: 'remove', region: 'nowhere' },
    { kind: 'believe', region: 'nowhere' },
    { kind: 'repair', source: 'nowhere', keys: [] },
  ] as const)(
    'about a region that the shard does not have names those that it has: $kind',
    (order) => {
      const answer = calm().order(order);
      expect(answer).toMatchObject({
        kind: 'unknown-region',
        detail: expect.stringContaining('far'),
      });
    },
  );
});

describe('the order to put out', () => {
  it('puts a region out that answers, and it stays out though it could be copied', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.run(10 * limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'ordered', held: true });
    expect(copySteps(rig)).toEqual([]);
    expect(rig.core.busy).toBe(false);
  });

  it('is refused for the last voter that is to stay', () => {
    const rig = calm({ regions: ['near', 'far'] });
    expect(rig.order(putOutFar).kind).toBe('taken');
    const answer = rig.order({ ...putOutFar, region: 'near' });
    expect(answer).toMatchObject({ kind: 'refused', detail: expect.stringContaining('last') });
  });

  it('keeps out a region that is out already, whatever put it out', () => {
    const rig = without();
    expect(rig.order(putOutFar).kind).toBe('taken');
    rig.run(10 * limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent', held: true });
    expect(rig.restarted().statusOf('far').held).toBe(true);
  });

  it('ends the copy of a region that was about to return', () => {
    const rig = probed();
    rig.execute(rig.flight('far'));
    expect(rig.statusOf('far').state).toBe('copying');
    rig.order(putOutFar);
    rig.run(10 * limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', held: true });
    expect(rig.changes.map(({ event }) => event)).toEqual(['copying', 'out']);
  });
});

describe('the order to return', () => {
  it('copies what was missed, and gives the vote back', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.run(100);
    rig.arrive(frameOf(['a'], lasting));
    rig.run(100);
    expect(rig.order(returnFar).kind).toBe('taken');
    rig.run(limits.copyPauseMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
    expect(copySteps(rig)).toEqual(['begin', 'read', 'write']);
    expect(rig.changes.map(({ event }) => event)).toEqual([
      'leaving',
      'out',
      'copying',
      'returned',
    ]);
  });

  it('copies everything where that is asked for', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.run(100);
    rig.order({ ...returnFar, whole: true });
    rig.run(limits.copyPauseMs);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(copySteps(rig)).toEqual(['begin', 'list', 'scan']);
  });

  it.each([
    ['voter', 'votes'],
    ['copying', 'copied'],
  ] as const)('is refused for a region that is a %s', (state, why) => {
    const rig = state === 'voter' ? calm() : probed();
    if (state === 'copying') rig.execute(rig.flight('far'));
    expect(rig.order(returnFar)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining(why),
    });
  });

  it('is refused over the state of another Lockstep, unless it is forced', () => {
    const rig = probed({ cause: 'foreign', whole: true, held: true });
    rig.count(rig.flight('far'), 0, 12);
    expect(rig.order(returnFar)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('force'),
    });
    expect(rig.order({ ...returnFar, force: true }).kind).toBe('taken');
    rig.run(limits.probeBackoffMinMs, ['near']);
    rig.count(rig.flight('far'), 0, 12);
    const { copy, generation } = rig.flight('far').round;
    expect(copy).toMatchObject({ kind: 'begin', replaces: [7], agreed: 12 });
    expect(generation).toBeGreaterThan(12);
  });
});

// A voter that is about to leave has its vote still, and its data: nothing has to be copied to keep both.
describe('the order to return for a region that has not left yet', () => {
  /** A rig in which `far` has a lease, so that it takes a while until it is out. */
  function leased(): Rig {
    const rig = calm();
    rig.want('far');
    rig.run(limits.leaseRenewMs + 100);
    return rig;
  }

  it('takes the order to put it out back: it stays, votes, and keeps its lease', () => {
    const rig = leased();
    rig.order(putOutFar);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    expect(rig.order(returnFar).kind).toBe('taken');
    expect(rig.tables.regions.get('far')?.membership).toMatchObject({ leaving: null });
    rig.run(2 * limits.leaseTtlMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(50);
    expect(rig.record(ticket).votes).toHaveLength(3);
    expect(rig.changes.map(({ event }) => event)).toEqual(['leaving', 'stayed']);
  });

  it('copies nothing to a region that votes still, and has one come back by itself that has lost writes', () => {
    const rig = leased();
    rig.order(putOutFar);
    expect(rig.order({ ...returnFar, whole: true }).kind).toBe('refused');
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', circuit: 'closed' });
    const lost = leased();
    lost.order(putOutFar);
    lost.arrive(frameOf(['a'], lasting));
    lost.end(lost.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(lost.order(returnFar).kind).toBe('taken');
    expect(lost.statusOf('far')).toMatchObject({ cause: 'lost', held: false });
  });

  it('is refused where it is being removed, or is to stay anyway', () => {
    const rig = leased();
    expect(rig.order(returnFar).kind).toBe('refused');
    rig.order({ kind: 'remove', region: 'far' });
    expect(rig.order(returnFar).kind).toBe('refused');
  });
});

describe('the order to add', () => {
  it('has everything copied to the new region under a generation of its own, and then lets it vote', () => {
    const rig = calm({ regions: others });
    expect(rig.order({ kind: 'add', region: 'new' }).kind).toBe('taken');
    expect(rig.tables.regions.get('new')).toMatchObject({ generation: 0, begun: false });
    rig.run(limits.copyPauseMs, [...others, 'new']);
    expect(rig.statusOf('new')).toMatchObject({ state: 'voter', cause: null });
    expect(rig.statusOf('new').generation).toBeGreaterThanOrEqual(1_000_000);
    expect(copySteps(rig)).toEqual(['begin', 'list', 'scan']);
    expect(rig.changes.map(({ event, epoch }) => [event, epoch])).toEqual([
      ['added', 1],
      ['copying', 2],
      ['returned', 3],
    ]);
  });

  it('is refused for a region that is one already', () => {
    expect(calm().order({ kind: 'add', region: 'far' }).kind).toBe('refused');
  });
});

describe('the order to remove', () => {
  it('forgets a voter as soon as its lease is over', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    expect(rig.order({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    rig.run(limits.leaseTtlMs);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'removed' });
    rig.run(limits.leaseDriftMs);
    expect(rig.core.status().regions.map(({ region }) => region)).toEqual(others);
    expect([...rig.tables.regions.keys()]).toEqual(others);
    expect(rig.changes.map(({ event }) => event)).toEqual(['leaving', 'out', 'removed']);
  });

  it('forgets a region that is out as soon as no lease of an earlier life is left there, with what it missed', () => {
    const rig = without({}, { missed: [{ region: 'far', keys: [['a', 1]] }] });
    rig.order({ kind: 'remove', region: 'far' });
    rig.run(limits.leaseTtlMs, ['near']);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'removed', held: true });
    expect(rig.order(returnFar).kind).toBe('refused');
    rig.run(limits.leaseDriftMs + 20, ['near']);
    expect(rig.core.status().regions.map(({ region }) => region)).toEqual(['near']);
    expect(rig.persisted).toContainEqual({ kind: 'forget', region: 'far' });
    expect(rig.tables.missed.size).toBe(0);
  });

  it('forgets a region at once that this life has put out: it has no lease', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.run(100, others);
    expect(rig.statusOf('far').state).toBe('out');
    rig.order({ kind: 'remove', region: 'far' });
    expect(rig.last.persist).toContainEqual({ kind: 'forget', region: 'far' });
  });

  it('leaves nobody to serve strong reads beside the region that is believed', () => {
    const rig = calm();
    rig.want('near');
    rig.run(2 * limits.leaseRenewMs);
    const until = rig.now + rig.statusOf('near').leaseMs;
    expect(until).toBeGreaterThan(rig.now + 1_000);
    rig.order({ kind: 'believe', region: 'far' });
    rig.order({ kind: 'remove', region: 'near' });
    rig.run(until - rig.now - 20, ['far']);
    expect(rig.statusOf('far').state).not.toBe('voter');
    rig.run(40, ['far']);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('leaves nobody to serve strong reads over the death of the coordinator either', () => {
    const before = calm({ regions: ['near', 'far'] });
    before.want('near');
    before.run(2 * limits.leaseRenewMs);
    before.order({ kind: 'believe', region: 'far' });
    before.order({ kind: 'remove', region: 'near' });
    const rig = before.restarted({ regions: ['far'] });
    rig.tick();
    const since = rig.now;
    while (rig.statusOf('far').state !== 'voter') rig.run(50, ['far']);
    expect(rig.now).toBeGreaterThan(since + limits.leaseTtlMs);
  });

  it('and to add again has no effect on a probe that hangs, which takes its connection as long as it does', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.run(100, others);
    while (rig.flightsTo('far').length === 0) rig.run(10, others);
    const hanging = rig.flight('far');
    rig.order({ kind: 'remove', region: 'far' });
    rig.order({ kind: 'add', region: 'far' });
    rig.run(100, others, [hanging]);
    rig.execute(hanging);
    expect(rig.last.ended).toBeNull();
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'new' });
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('keeps to the connections while a round to a region that is gone has not ended', () => {
    const rig = Rig.greeted({ connections: 3 });
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.order(putOutFar);
    rig.run(100, others);
    while (rig.flightsTo('far').length === 0) rig.run(10, others);
    const hanging = rig.flight('far');
    rig.order({ kind: 'remove', region: 'far' });
    for (let number = 0; number < 6; number += 1) rig.arrive(frameOf([`k${number}`], lasting));
    expect(rig.flights.length).toBeLessThanOrEqual(3);
    rig.silence(hanging);
    rig.run(100, others);
  });

  it('is refused for the last voter', () => {
    const rig = calm({ regions: ['only'] });
    expect(rig.order({ kind: 'remove', region: 'only' }).kind).toBe('refused');
  });

  it('leaves answers of the region to what was on its way without effect', () => {
    const rig = calm();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    const late = rig.flight('far');
    rig.advance(1);
    rig.order({ kind: 'remove', region: 'far' });
    rig.run(50, others, [late]);
    rig.execute(late);
    rig.run(50, others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
  });
});

describe('the order to repair', () => {
  const keys = [{ key: 'a', regions: ['far'] }];

  it('is refused where the source does not vote, or is to leave itself', () => {
    const rig = calm();
    rig.order(putOutFar);
    const order = {
      kind: 'repair',
      source: 'far',
      keys: [{ key: 'a', regions: ['near'] }],
    } as const;
    expect(rig.order(order).kind).toBe('refused');
    rig.run(100);
    expect(rig.order(order).kind).toBe('refused');
  });

  it('is refused where a region would be repaired from itself', () => {
    expect(calm().order({ kind: 'repair', source: 'far', keys }).kind).toBe('refused');
  });

  it('copies these keys to the regions named with them, one region after the other', () => {
    const rig = calm();
    const both = [{ key: 'a', regions: ['far', 'middle'] }];
    expect(rig.order({ kind: 'repair', source: 'near', keys: both }).kind).toBe('taken');
    rig.run(2 * limits.copyPauseMs);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    const written = rig.rounds.flatMap(({ region, round }) =>
      round.copy?.kind === 'write' ? [region] : [],
    );
    expect(written).toEqual(['middle', 'far']);
    expect([...rig.tables.missed.values()].map(({ size }) => size)).toEqual([0, 0]);
  });
});

describe('the order to settle', () => {
  it('aborts a transaction that is undecided, and its write is tried again', () => {
    const rig = calm();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    expect(rig.order({ kind: 'settle', transaction: [3, 1] }).kind).toBe('taken');
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('asks every voter for its older locks where nothing is undecided, and settles them', () => {
    const rig = calm({ regions: ['only'] });
    rig.order({ kind: 'settle', transaction: [2, 7] });
    expect(rig.flight('only').round.askOlder).toBe(true);
    rig.execute(rig.flight('only'), { older: [{ transaction: [2, 7], keys: ['a'] }] });
    expect(rig.deciding('only')).toEqual([{ transaction: [2, 7], outcome: 'abort', keys: ['a'] }]);
  });
});
