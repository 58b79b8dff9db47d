import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;

/** The next round to `region`; all others answer meanwhile. */
function nextTo(harness: CoreHarness, region: string): SentRound {
  const answering = harness.regions.filter((one) => one !== region);
  for (let waited = 0; waited < limits.outProbeBackoffMaxMs; waited += 10) {
    const [send] = harness.flightsTo(region);
    if (send !== undefined) return send;
    harness.run(10, answering);
  }
  throw new Error(`nothing is sent to ${region}`);
}

describe('a shard without members', () => {
  const nothing = { epoch: 0, regions: [], generation: 9 };

  /** A shard whose regions have all reported that they are empty, and have begun (founding.test.ts). */
  function founded(): CoreHarness {
    const harness = new CoreHarness({ stored: nothing });
    harness.tick();
    harness.executeAll();
    return harness;
  }

  it('has granted no lease: a region that never answers is evicted without waiting for the end of one', () => {
    const harness = founded();
    harness.arrive(frameOf(['a'], lasting));
    harness.run(leaseMs - 500, others);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('has everything copied to a region that never answered, however little it missed', () => {
    const harness = founded();
    harness.arrive(frameOf(['a'], lasting));
    harness.run(leaseMs, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    harness.end(nextTo(harness, 'far'), {
      kind: 'refused',
      refusal: { kind: 'generation', has: 0, keys: 0 },
    });
    expect(harness.flight('far').round).toMatchObject({ role: 'copying', begin: false });
    harness.run(limits.copyPauseMs);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('is founded once: a restart finds its members', () => {
    const harness = founded().restarted();
    harness.tick();
    expect(harness.last.persist).toEqual([]);
    expect(harness.core.status()).toMatchObject({ epoch: 1, incarnation: 4 });
  });
});

describe('a region that is new in the configuration', () => {
  it('is out when the next instance begins, and votes when everything is copied to it', () => {
    const stored = { regions: others.map((region) => voterOf(region)), epoch: 4, sequence: 7 };
    const harness = new CoreHarness({ stored });
    harness.tick();
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'new', missedKeys: null });
    expect(harness.changes).toMatchObject([
      { region: 'far', event: 'added', epoch: 4, sequence: 8 },
    ]);
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(20, others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const begin = harness.rounds.find(({ round }) => round.copy?.kind === 'begin');
    expect(begin?.round.generation).toBe(harness.tables.regions.get('far')?.generation);
    expect(begin?.round.generation).toBeGreaterThanOrEqual(start);
  });

  it('that holds the state of another Lockstep returns only manually, and nothing is copied over it', () => {
    const harness = new CoreHarness({
      stored: { regions: others.map((region) => voterOf(region)) },
    });
    harness.tick();
    harness.end(nextTo(harness, 'far'), {
      kind: 'refused',
      refusal: { kind: 'generation', has: 12, keys: 0 },
    });
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('out');
    expect(harness.rounds.some(({ round }) => round.copy?.kind === 'begin')).toBe(false);
  });
});

describe('a region that is no longer in the configuration', () => {
  it('is evicted and forgotten when its lease is over, as the next instance begins', () => {
    const harness = CoreHarness.calm().restarted({ regions: others });
    harness.tick();
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'removed' });
    harness.run(leaseMs - 10, others);
    expect(harness.statusOf('far').state).toBe('voter');
    harness.run(100, others);
    expect(harness.core.status().regions.map(({ region }) => region)).toEqual(others);
    expect([...harness.tables.regions.keys()]).toEqual(others);
  });

  it('is forgotten, if it was out, as soon as no lease of an earlier instance can last', () => {
    const regions = [voterOf('near'), outOf('far')];
    const harness = new CoreHarness({ regions: ['near'], stored: { regions } });
    harness.tick();
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'removed' });
    harness.run(leaseMs + 20);
    expect(harness.persisted).toContainEqual({ kind: 'forget', region: 'far' });
  });

  it('stays if it is the last voter, until another one has returned', () => {
    const harness = new CoreHarness({ regions: ['new'], stored: { regions: [voterOf('old')] } });
    harness.tick();
    harness.run(leaseMs, ['old']);
    expect(harness.statusOf('old').state).toBe('voter');
    harness.run(2 * limits.outProbeBackoffMaxMs, ['old', 'new']);
    expect(harness.core.status().regions).toMatchObject([{ region: 'new', state: 'voter' }]);
  });
});

// R38: if every voter has lost writes, an operator has to say which region to trust.
describe('a shard whose voters have all lost writes', () => {
  /** A harness of two regions, both of which report that they have lost acknowledged writes. */
  function lost() {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    for (const send of harness.flights) {
      harness.end(send, { kind: 'refused', refusal: { kind: 'lost' } });
    }
    return { harness, ticket };
  }

  it('refuses every write, and evicts no region', () => {
    const { harness, ticket } = lost();
    const refusal = { kind: 'unavailable', code: 'lost', faults: [{}, {}] };
    expect(harness.answerTo(ticket)).toMatchObject(refusal);
    harness.run(leaseMs);
    expect(harness.answerTo(harness.arrive(frameOf(['b'], lasting)))).toMatchObject(refusal);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual(['voter', 'voter']);
  });

  it('trusts the region that an operator names: it alone votes, and the other is copied from it', () => {
    const { harness } = lost();
    expect(harness.command({ kind: 'believe', region: 'far' }).kind).toBe('taken');
    const [begin] = harness.sent;
    const { generation = 0, copy } = begin?.round ?? {};
    expect(copy).toMatchObject({ kind: 'begin', replaces: [7] });
    expect(generation).toBeGreaterThan(7);
    harness.run(limits.copyPauseMs, ['far']);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual(['out', 'voter']);
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(20, ['far']);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(['far']);
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('near').state).toBe('voter');
    const steps = harness.rounds.flatMap(({ region, round }) =>
      round.copy === null ? [] : [`${region} ${round.copy.kind}`],
    );
    expect(steps).toEqual(['far begin', 'near begin', 'near list', 'far scan']);
  });

  it('gives up the writes under way on a force-recovery, since no region votes for a moment', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.command({ kind: 'believe', region: 'far' });
    const refusal = { kind: 'unavailable', code: 'too-few-voters' };
    expect(harness.answerTo(ticket)).toMatchObject(refusal);
  });

  it('keeps the force-recovery in its history, and notifies the subscribers', () => {
    const { harness } = lost();
    harness.command({ kind: 'believe', region: 'far' });
    const events = harness.changes.map(({ region, event }) => `${region} ${event}`);
    expect(events).toEqual(['near leaving', 'far leaving', 'far believed', 'far copying']);
    expect(harness.tables.regions.get('near')?.membership).toMatchObject({
      state: 'out',
      whole: true,
    });
  });
});
