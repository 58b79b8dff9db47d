import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, type HarnessOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

const evictFar = { kind: 'put-out', region: 'far', reason: 'for repairs' } as const;
const returnFar = { kind: 'return', region: 'far', whole: false, force: false } as const;

/** The kinds of all steps of copies, in order. */
function copySteps(harness: CoreHarness): readonly string[] {
  return harness.rounds.flatMap(({ round }) => (round.copy === null ? [] : [round.copy.kind]));
}

/** A harness of two regions of which `far` is out, as `given` says. */
function without(
  given: Parameters<typeof outOf>[1] = {},
  stored: HarnessOptions['stored'] = {},
): CoreHarness {
  const regions = [voterOf('near'), outOf('far', given)];
  const harness = new CoreHarness({ regions: ['near', 'far'], stored: { regions, ...stored } });
  harness.tick();
  return harness;
}

/** The same, with `far` about to answer its first probe. */
function probed(given: Parameters<typeof outOf>[1] = {}): CoreHarness {
  const harness = without(given);
  harness.run(limits.probeBackoffMinMs, ['near']);
  return harness;
}

describe('an admin command', () => {
  it('is stored in the step that answers it', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    const membership = expect.objectContaining({
      leaving: { cause: 'ordered', detail: 'for repairs', whole: false, manualReturn: true },
    });
    expect(harness.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({ region: 'far', membership }),
    });
  });

  it('that is refused is answered with a proof of ownership all the same', () => {
    const harness = CoreHarness.calm();
    expect(harness.command({ ...evictFar, region: 'nowhere' }).kind).toBe('unknown-region');
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it.each([
    { ...evictFar, region: 'nowhere' },
    { ...returnFar, region: 'nowhere' },
    { kind: 'remove', region: 'nowhere' },
    { kind: 'believe', region: 'nowhere' },
    { kind: 'repair', source: 'nowhere', keys: [] },
  ] as const)('about an unknown region names the regions of the shard: $kind', (order) => {
    const answer = CoreHarness.calm().command(order);
    expect(answer).toMatchObject({
      kind: 'unknown-region',
      detail: expect.stringContaining('far'),
    });
  });
});

describe('the admin command to evict', () => {
  it('evicts a region that answers, which stays out though it could be copied', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.run(10 * limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'ordered', held: true });
    expect(copySteps(harness)).toEqual([]);
    expect(harness.core.busy).toBe(false);
  });

  it('is refused for the last voter that is to stay', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    expect(harness.command(evictFar).kind).toBe('taken');
    const answer = harness.command({ ...evictFar, region: 'near' });
    expect(answer).toMatchObject({ kind: 'refused', detail: expect.stringContaining('last') });
  });

  it('keeps a region out that is out already, for any reason', () => {
    const harness = without();
    expect(harness.command(evictFar).kind).toBe('taken');
    harness.run(10 * limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent', held: true });
    expect(harness.restarted().statusOf('far').held).toBe(true);
  });

  it('ends the copy of a region that was about to return', () => {
    const harness = probed();
    harness.execute(harness.flight('far'));
    expect(harness.statusOf('far').state).toBe('copying');
    harness.command(evictFar);
    harness.run(10 * limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', held: true });
    expect(harness.changes.map(({ event }) => event)).toEqual(['copying', 'out']);
  });
});

describe('the admin command to return', () => {
  it('copies the missed keys, and restores the vote', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.run(100);
    harness.arrive(frameOf(['a'], lasting));
    harness.run(100);
    expect(harness.command(returnFar).kind).toBe('taken');
    harness.run(limits.copyPauseMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
    expect(copySteps(harness)).toEqual(['begin', 'read', 'write']);
    expect(harness.changes.map(({ event }) => event)).toEqual([
      'leaving',
      'out',
      'copying',
      'returned',
    ]);
  });

  it('copies everything on request', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.run(100);
    harness.command({ ...returnFar, whole: true });
    harness.run(limits.copyPauseMs);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(copySteps(harness)).toEqual(['begin', 'list', 'scan']);
  });

  it.each([
    ['voter', 'votes'],
    ['copying', 'copied'],
  ] as const)('is refused for a region that is a %s', (state, why) => {
    const harness = state === 'voter' ? CoreHarness.calm() : probed();
    if (state === 'copying') harness.execute(harness.flight('far'));
    expect(harness.command(returnFar)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining(why),
    });
  });

  it('is refused over the state of another Lockstep, unless it is forced', () => {
    const harness = probed({ cause: 'foreign', whole: true, manualReturn: true });
    harness.reportKeys(harness.flight('far'), 0, 12);
    expect(harness.command(returnFar)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('force'),
    });
    expect(harness.command({ ...returnFar, force: true }).kind).toBe('taken');
    harness.run(limits.probeBackoffMinMs, ['near']);
    harness.reportKeys(harness.flight('far'), 0, 12);
    const { copy, generation } = harness.flight('far').round;
    expect(copy).toMatchObject({ kind: 'begin', replaces: [7], agreed: 12 });
    expect(generation).toBeGreaterThan(12);
  });
});

// A voter that is about to leave has its vote still, and its data: nothing has to be copied to keep both.
describe('the admin command to return for a region that has not left yet', () => {
  /** A harness in which `far` has a lease, so that it takes a while until it is out. */
  function leased(): CoreHarness {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(limits.leaseRenewMs + 100);
    return harness;
  }

  it('cancels the command to evict: the region stays, votes, and keeps its lease', () => {
    const harness = leased();
    harness.command(evictFar);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    expect(harness.command(returnFar).kind).toBe('taken');
    expect(harness.tables.regions.get('far')?.membership).toMatchObject({ leaving: null });
    harness.run(2 * limits.leaseTtlMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(50);
    expect(harness.record(ticket).votes).toHaveLength(3);
    expect(harness.changes.map(({ event }) => event)).toEqual(['leaving', 'stayed']);
  });

  it('copies nothing to a region that still votes, and lets one that has lost writes return by itself', () => {
    const harness = leased();
    harness.command(evictFar);
    expect(harness.command({ ...returnFar, whole: true }).kind).toBe('refused');
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', circuit: 'closed' });
    const lost = leased();
    lost.command(evictFar);
    lost.arrive(frameOf(['a'], lasting));
    lost.end(lost.flight('far'), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(lost.command(returnFar).kind).toBe('taken');
    expect(lost.statusOf('far')).toMatchObject({ cause: 'lost', held: false });
  });

  it('is refused if the region is being removed, or is to stay anyway', () => {
    const harness = leased();
    expect(harness.command(returnFar).kind).toBe('refused');
    harness.command({ kind: 'remove', region: 'far' });
    expect(harness.command(returnFar).kind).toBe('refused');
  });
});

describe('the admin command to add', () => {
  it('has everything copied to the new region under a generation of its own, and then lets it vote', () => {
    const harness = CoreHarness.calm({ regions: others });
    expect(harness.command({ kind: 'add', region: 'new' }).kind).toBe('taken');
    expect(harness.tables.regions.get('new')).toMatchObject({ generation: 0, begun: false });
    harness.run(limits.copyPauseMs, [...others, 'new']);
    expect(harness.statusOf('new')).toMatchObject({ state: 'voter', cause: null });
    expect(harness.statusOf('new').generation).toBeGreaterThanOrEqual(1_000_000);
    expect(copySteps(harness)).toEqual(['begin', 'list', 'scan']);
    expect(harness.changes.map(({ event, epoch }) => [event, epoch])).toEqual([
      ['added', 1],
      ['copying', 2],
      ['returned', 3],
    ]);
  });

  it('is refused for a region that exists already', () => {
    expect(CoreHarness.calm().command({ kind: 'add', region: 'far' }).kind).toBe('refused');
  });
});

describe('the admin command to remove', () => {
  it('forgets a voter as soon as its lease is over', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    expect(harness.command({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    harness.run(limits.leaseTtlMs);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'removed' });
    harness.run(limits.leaseDriftMs);
    expect(harness.core.status().regions.map(({ region }) => region)).toEqual(others);
    expect([...harness.tables.regions.keys()]).toEqual(others);
    expect(harness.changes.map(({ event }) => event)).toEqual(['leaving', 'out', 'removed']);
  });

  it('forgets a region that is out, with its missed keys, once no lease of an earlier instance is left there', () => {
    const harness = without({}, { missed: [{ region: 'far', keys: [['a', 1]] }] });
    harness.command({ kind: 'remove', region: 'far' });
    harness.run(limits.leaseTtlMs, ['near']);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'removed', held: true });
    expect(harness.command(returnFar).kind).toBe('refused');
    harness.run(limits.leaseDriftMs + 20, ['near']);
    expect(harness.core.status().regions.map(({ region }) => region)).toEqual(['near']);
    expect(harness.persisted).toContainEqual({ kind: 'forget', region: 'far' });
    expect(harness.tables.missed.size).toBe(0);
  });

  it('forgets a region that this instance has evicted at once: it has no lease', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.run(100, others);
    expect(harness.statusOf('far').state).toBe('out');
    harness.command({ kind: 'remove', region: 'far' });
    expect(harness.last.persist).toContainEqual({ kind: 'forget', region: 'far' });
  });

  it('leaves no region to serve strong reads beside the region that is force-recovered', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('near');
    harness.run(2 * limits.leaseRenewMs);
    const until = harness.now + harness.statusOf('near').leaseMs;
    expect(until).toBeGreaterThan(harness.now + 1_000);
    harness.command({ kind: 'believe', region: 'far' });
    harness.command({ kind: 'remove', region: 'near' });
    harness.run(until - harness.now - 20, ['far']);
    expect(harness.statusOf('far').state).not.toBe('voter');
    harness.run(40, ['far']);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('leaves no region to serve strong reads after the death of the coordinator either', () => {
    const before = CoreHarness.calm({ regions: ['near', 'far'] });
    before.requestLease('near');
    before.run(2 * limits.leaseRenewMs);
    before.command({ kind: 'believe', region: 'far' });
    before.command({ kind: 'remove', region: 'near' });
    const harness = before.restarted({ regions: ['far'] });
    harness.tick();
    const since = harness.now;
    while (harness.statusOf('far').state !== 'voter') harness.run(50, ['far']);
    expect(harness.now).toBeGreaterThan(since + limits.leaseTtlMs);
  });

  it('and then to add has no effect on a probe that hangs, which keeps its connection until it ends', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.run(100, others);
    while (harness.flightsTo('far').length === 0) harness.run(10, others);
    const hanging = harness.flight('far');
    harness.command({ kind: 'remove', region: 'far' });
    harness.command({ kind: 'add', region: 'far' });
    harness.run(100, others, [hanging]);
    harness.execute(hanging);
    expect(harness.last.ended).toBeNull();
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'new' });
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('stays within the connections while a round to a removed region has not ended', () => {
    const harness = CoreHarness.begun({ connections: 3 });
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.command(evictFar);
    harness.run(100, others);
    while (harness.flightsTo('far').length === 0) harness.run(10, others);
    const hanging = harness.flight('far');
    harness.command({ kind: 'remove', region: 'far' });
    for (let number = 0; number < 6; number += 1) harness.arrive(frameOf([`k${number}`], lasting));
    expect(harness.flights.length).toBeLessThanOrEqual(3);
    harness.silence(hanging);
    harness.run(100, others);
  });

  it('is refused for the last voter', () => {
    const harness = CoreHarness.calm({ regions: ['only'] });
    expect(harness.command({ kind: 'remove', region: 'only' }).kind).toBe('refused');
  });

  it('ignores later answers of the region to rounds that were on their way', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    const late = harness.flight('far');
    harness.advance(1);
    harness.command({ kind: 'remove', region: 'far' });
    harness.run(50, others, [late]);
    harness.execute(late);
    harness.run(50, others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
  });
});

describe('the admin command to repair', () => {
  const keys = [{ key: 'a', regions: ['far'] }];

  it('is refused if the source does not vote, or is to leave itself', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    const order = {
      kind: 'repair',
      source: 'far',
      keys: [{ key: 'a', regions: ['near'] }],
    } as const;
    expect(harness.command(order).kind).toBe('refused');
    harness.run(100);
    expect(harness.command(order).kind).toBe('refused');
  });

  it('is refused if a region would be repaired from itself', () => {
    expect(CoreHarness.calm().command({ kind: 'repair', source: 'far', keys }).kind).toBe(
      'refused',
    );
  });

  it.each([
    [['a'], 'The regions that differ copy 1 key from near'],
    [['a', 'b'], 'The regions that differ copy 2 keys from near'],
  ])('says how many keys are copied, and from which region: %j', (names, detail) => {
    const differing = names.map((key) => ({ key, regions: ['far'] }));
    const answer = CoreHarness.calm().command({ kind: 'repair', source: 'near', keys: differing });
    expect(answer).toEqual({ kind: 'taken', detail });
  });

  it('copies these keys to the regions named with them, one region after the other', () => {
    const harness = CoreHarness.calm();
    const both = [{ key: 'a', regions: ['far', 'middle'] }];
    expect(harness.command({ kind: 'repair', source: 'near', keys: both }).kind).toBe('taken');
    harness.run(2 * limits.copyPauseMs);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    const written = harness.rounds.flatMap(({ region, round }) =>
      round.copy?.kind === 'write' ? [region] : [],
    );
    expect(written).toEqual(['middle', 'far']);
    expect([...harness.tables.missed.values()].map(({ size }) => size)).toEqual([0, 0]);
  });
});

describe('the admin command to settle', () => {
  it('aborts a transaction that is undecided, and its write is retried', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    expect(harness.command({ kind: 'settle', transaction: [3, 1] }).kind).toBe('taken');
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('asks every voter for its older locks if nothing is undecided, and settles them', () => {
    const harness = CoreHarness.calm({ regions: ['only'] });
    harness.command({ kind: 'settle', transaction: [2, 7] });
    expect(harness.flight('only').round.askOlder).toBe(true);
    harness.execute(harness.flight('only'), { older: [{ transaction: [2, 7], keys: ['a'] }] });
    expect(harness.deciding('only')).toEqual([
      { transaction: [2, 7], outcome: 'abort', keys: ['a'] },
    ]);
  });
});
