import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, type RigOptions, start } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;

/** A greeted rig in which no lease is left that an earlier life could have granted. */
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(leaseMs);
  return rig;
}

/** The next round to `region`; all others answer meanwhile. */
function nextTo(rig: Rig, region: string): SentRound {
  const answering = rig.regions.filter((one) => one !== region);
  for (let waited = 0; waited < limits.outProbeBackoffMaxMs; waited += 10) {
    const [send] = rig.flightsTo(region);
    if (send !== undefined) return send;
    rig.run(10, answering);
  }
  throw new Error(`nothing is sent to ${region}`);
}

describe('a shard without members', () => {
  const nothing = { epoch: 0, regions: [], generation: 9 };

  /** One whose regions have all said that they are empty, and been told to begin (founding.test.ts). */
  function founded(): Rig {
    const rig = new Rig({ stored: nothing });
    rig.tick();
    rig.executeAll();
    return rig;
  }

  it('has granted no lease: one that never answers is put out without waiting for the end of one', () => {
    const rig = founded();
    rig.arrive(frameOf(['a'], lasting));
    rig.run(leaseMs - 500, others);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('has everything copied to a region that never answered, however little it missed', () => {
    const rig = founded();
    rig.arrive(frameOf(['a'], lasting));
    rig.run(leaseMs, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    rig.end(nextTo(rig, 'far'), {
      kind: 'refused',
      refusal: { kind: 'generation', has: 0, keys: 0 },
    });
    expect(rig.flight('far').round).toMatchObject({ role: 'copying', begin: false });
    rig.run(limits.copyPauseMs);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('is founded once: a restart finds its members', () => {
    const rig = founded().restarted();
    rig.tick();
    expect(rig.last.persist).toEqual([]);
    expect(rig.core.status()).toMatchObject({ epoch: 1, incarnation: 4 });
  });
});

describe('a region that is configured anew', () => {
  it('is out when the next instance begins, and votes when everything is copied to it', () => {
    const stored = { regions: others.map((region) => voterOf(region)), epoch: 4, sequence: 7 };
    const rig = new Rig({ stored });
    rig.tick();
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'new', missedKeys: null });
    expect(rig.changes).toMatchObject([{ region: 'far', event: 'added', epoch: 4, sequence: 8 }]);
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(20, others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const begin = rig.rounds.find(({ round }) => round.copy?.kind === 'begin');
    expect(begin?.round.generation).toBe(rig.tables.regions.get('far')?.generation);
    expect(begin?.round.generation).toBeGreaterThanOrEqual(start);
  });

  it('that holds the state of another Lockstep is held, and nothing is copied over it', () => {
    const rig = new Rig({ stored: { regions: others.map((region) => voterOf(region)) } });
    rig.tick();
    rig.end(nextTo(rig, 'far'), {
      kind: 'refused',
      refusal: { kind: 'generation', has: 12, keys: 0 },
    });
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('out');
    expect(rig.rounds.some(({ round }) => round.copy?.kind === 'begin')).toBe(false);
  });
});

describe('a region that is not configured any more', () => {
  it('is put out and forgotten when its lease is over, as the next instance finds', () => {
    const rig = calm().restarted({ regions: others });
    rig.tick();
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'removed' });
    rig.run(leaseMs - 10, others);
    expect(rig.statusOf('far').state).toBe('voter');
    rig.run(100, others);
    expect(rig.core.status().regions.map(({ region }) => region)).toEqual(others);
    expect([...rig.tables.regions.keys()]).toEqual(others);
  });

  it('is forgotten where it was out as soon as no lease is left that an earlier life may have granted', () => {
    const regions = [voterOf('near'), outOf('far')];
    const rig = new Rig({ regions: ['near'], stored: { regions } });
    rig.tick();
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'removed' });
    rig.run(leaseMs + 20);
    expect(rig.persisted).toContainEqual({ kind: 'forget', region: 'far' });
  });

  it('stays where it is the last one that votes, until another one has returned', () => {
    const rig = new Rig({ regions: ['new'], stored: { regions: [voterOf('old')] } });
    rig.tick();
    rig.run(leaseMs, ['old']);
    expect(rig.statusOf('old').state).toBe('voter');
    rig.run(2 * limits.outProbeBackoffMaxMs, ['old', 'new']);
    expect(rig.core.status().regions).toMatchObject([{ region: 'new', state: 'voter' }]);
  });
});

// R38: where every voter has lost writes, somebody has to say what is right.
describe('a shard whose voters have all lost writes', () => {
  /** A rig of two regions, both of which say that they have lost what they acknowledged. */
  function lost() {
    const rig = calm({ regions: ['near', 'far'] });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    for (const send of rig.flights) {
      rig.end(send, { kind: 'refused', refusal: { kind: 'lost' } });
    }
    return { rig, ticket };
  }

  it('refuses every write, and puts nobody out', () => {
    const { rig, ticket } = lost();
    const refusal = { kind: 'unavailable', code: 'lost', faults: [{}, {}] };
    expect(rig.told(ticket)).toMatchObject(refusal);
    rig.run(leaseMs);
    expect(rig.told(rig.arrive(frameOf(['b'], lasting)))).toMatchObject(refusal);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual(['voter', 'voter']);
  });

  it('takes the one for right that an operator names: it alone votes, and the other is copied from it', () => {
    const { rig } = lost();
    expect(rig.order({ kind: 'believe', region: 'far' }).kind).toBe('taken');
    const [begin] = rig.sent;
    const { generation = 0, copy } = begin?.round ?? {};
    expect(copy).toMatchObject({ kind: 'begin', replaces: [7] });
    expect(generation).toBeGreaterThan(7);
    rig.run(limits.copyPauseMs, ['far']);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual(['out', 'voter']);
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(20, ['far']);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(['far']);
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('near').state).toBe('voter');
    const steps = rig.rounds.flatMap(({ region, round }) =>
      round.copy === null ? [] : [`${region} ${round.copy.kind}`],
    );
    expect(steps).toEqual(['far begin', 'near begin', 'near list', 'far scan']);
  });

  it('gives up what was under way when somebody is believed, since nobody votes for a moment', () => {
    const rig = calm({ regions: ['near', 'far'] });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.order({ kind: 'believe', region: 'far' });
    const refusal = { kind: 'unavailable', code: 'too-few-voters' };
    expect(rig.told(ticket)).toMatchObject(refusal);
  });

  it('keeps the order in its history, and tells those who asked', () => {
    const { rig } = lost();
    rig.order({ kind: 'believe', region: 'far' });
    const events = rig.changes.map(({ region, event }) => `${region} ${event}`);
    expect(events).toEqual(['near leaving', 'far leaving', 'far believed', 'far copying']);
    expect(rig.tables.regions.get('near')?.membership).toMatchObject({ state: 'out', whole: true });
  });
});
