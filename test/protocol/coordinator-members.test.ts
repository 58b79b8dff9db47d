import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, type RigOptions, timing } from './core-harness.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A greeted rig in which no lease is left that an earlier life could have granted. */
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
  return rig;
}

/** A calm rig with a write under way, to which `far` has just failed to vote. */
function silent() {
  const rig = calm();
  const ticket = rig.arrive(frameOf(['a'], lasting));
  rig.executeAll(others);
  rig.silence(rig.flight('far'));
  return { rig, ticket };
}

const putOutFar = { kind: 'put-out', region: 'far', reason: 'for repairs' } as const;

// R31: writes wait for every voter, so one that fails must leave, and one that does not need not.
describe('a voter that is silent', () => {
  it('for less than outAfterMs stays, and the write is decided by all', () => {
    const { rig, ticket } = silent();
    rig.run(timing.outAfterMs - 200, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', health: 'silent', cause: null });
    rig.run(limits.probeBackoffMaxMs);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(rig.regions);
    expect(rig.changes).toEqual([]);
    expect(rig.core.status().epoch).toBe(1);
  });

  it('for outAfterMs is put out, and the write is decided by the others in a new epoch', () => {
    const { rig, ticket } = silent();
    rig.run(timing.outAfterMs, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent', held: false });
    rig.run(limits.probeBackoffMaxMs, others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(rig.core.status().epoch).toBe(2);
    for (const { round } of rig.rounds.slice(-2)) expect(round.epoch).toBe(2);
  });

  it('counts as silent from when the first round left that it has not answered', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    const lost = rig.flight('far');
    rig.run(timing.outAfterMs - 1, others, [lost]);
    expect(rig.statusOf('far').state).toBe('voter');
    rig.run(1, others, [lost]);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('counts anew from the next silence, once it has answered a probe', () => {
    const { rig } = silent();
    rig.run(timing.outAfterMs - 200, others);
    rig.run(limits.probeBackoffMaxMs);
    rig.arrive(frameOf(['b'], lasting));
    rig.run(timing.outAfterMs - 1, others);
    expect(rig.statusOf('far').state).toBe('voter');
  });

  it('leaves together with another in one epoch, where both have been silent for so long', () => {
    const rig = calm();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(timing.outAfterMs + limits.probeBackoffMaxMs, ['near']);
    expect(rig.changes.map(({ region, event, epoch }) => [region, event, epoch])).toEqual([
      ['middle', 'out', 2],
      ['far', 'out', 2],
    ]);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(['near']);
  });

  it('stays where nobody answers: a coordinator without a network strips itself of nobody', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    rig.run(20 * timing.outAfterMs, []);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    expect(rig.changes).toEqual([]);
  });

  it('stays where it is the last one, and the write is decided once it answers', () => {
    const rig = calm({ regions: ['only'] });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(20 * timing.outAfterMs, []);
    rig.run(2 * limits.probeBackoffMaxMs);
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed' });
    expect(rig.core.status().epoch).toBe(1);
  });

  it('that holds the state of another coordinator all the time is put out as foreign, and is held', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited <= timing.outAfterMs; waited += 100) {
      for (const send of rig.flightsTo('far')) {
        rig.end(send, { kind: 'refused', refusal: { kind: 'generation', has: 12, keys: 0 } });
      }
      rig.run(100, others, rig.flightsTo('far'));
    }
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(rig.statusOf('far').missedKeys).toBeNull();
  });
});

// R32: a reader there must not miss a write, and the one that stays must be whole.
describe('a voter that is to leave', () => {
  it('stays until its lease is over, though it was silent for longer', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    const { leaseMs } = rig.statusOf('far');
    expect(leaseMs).toBeGreaterThan(timing.outAfterMs);
    rig.arrive(frameOf(['a'], lasting));
    rig.run(leaseMs - 1, others);
    expect(rig.statusOf('far').state).toBe('voter');
    rig.run(1, others);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('stays until a lease is over that an earlier life may have granted', () => {
    const rig = new Rig();
    rig.tick();
    rig.run(100, others);
    const sinceFirstAnswer = 100;
    const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;
    rig.run(leaseMs - sinceFirstAnswer - 1, others);
    expect(rig.statusOf('far').state).toBe('voter');
    rig.run(1, others);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('stays until every voter that stays has executed a round that left after the suspicion', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    rig.advance(5);
    expect(rig.order(putOutFar).kind).toBe('taken');
    const before = rig.flights.filter(({ round }) => round.prepares.length > 0);
    for (const send of before) if (send.region !== 'far') rig.execute(send);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    rig.execute(rig.flight('near'));
    expect(rig.statusOf('far').state).toBe('voter');
    rig.execute(rig.flight('middle'));
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('stays until these rounds have left after the end of its lease, too', () => {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    const { leaseMs } = rig.statusOf('far');
    rig.order(putOutFar);
    rig.run(leaseMs - 1);
    rig.arrive(frameOf(['a'], lasting));
    const early = rig.flights;
    rig.advance(1);
    for (const send of early) rig.execute(send);
    expect(rig.statusOf('far').state).toBe('voter');
    rig.run(0);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('stays where the only other one turns out to have lost writes, which then leaves in its place', () => {
    const rig = calm({ regions: ['near', 'far'] });
    rig.arrive(frameOf(['a'], lasting));
    rig.execute(rig.flight('near'));
    rig.run(timing.outAfterMs, [], rig.flights);
    rig.end(rig.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    rig.run(2 * timing.outAfterMs, []);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual(['voter', 'voter']);
    rig.run(2 * limits.probeBackoffMaxMs, ['far']);
    expect(rig.statusOf('near')).toMatchObject({ state: 'out', cause: 'lost' });
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
  });

  it('and may, stays while the other must leave, and leaves when that one has returned', () => {
    const rig = calm({ regions: ['near', 'far'] });
    rig.order(putOutFar);
    rig.end(rig.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    rig.run(100, ['far']);
    expect(rig.statusOf('near')).toMatchObject({ state: 'out', cause: 'lost' });
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    rig.run(limits.probeBackoffMaxMs);
    expect(rig.changes.map(({ region, event }) => `${region} ${event}`)).toEqual([
      'far leaving',
      'near leaving',
      'near out',
      'near copying',
      'near returned',
      'far out',
    ]);
  });

  it('has what is undecided when it leaves aborted, and tried again by those who stay', () => {
    const rig = calm();
    rig.order(putOutFar);
    const checks = rig.flights;
    const ticket = rig.arrive(frameOf(['a'], lasting));
    const [prepare] = rig.flightsTo('near').filter((send) => !checks.includes(send));
    if (prepare === undefined) throw new Error('it is being prepared');
    rig.execute(prepare);
    expect(rig.core.status().undecided).toBe(1);
    for (const send of checks) if (send.region !== 'far') rig.execute(send);
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    rig.settle();
    const { attempts, votes, transaction } = rig.record(ticket);
    expect({ attempts, transaction }).toEqual({ attempts: 2, transaction: '0.3.2' });
    expect(votes.map(({ region }) => region)).toEqual(others);
    expect(rig.deciding('far')).toEqual([]);
  });

  it('is let go only by what a region says of this epoch: a vote fenced by an older one ends nothing', () => {
    const rig = calm();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    const late = rig.flight('near');
    rig.advance(1);
    rig.order(putOutFar);
    const checks = rig.flights.filter((send) => send !== late && send.region !== 'far');
    for (const send of checks) rig.execute(send);
    expect(rig.core.status().epoch).toBe(2);
    rig.execute(late, { votes: [{ kind: 'fenced', by: 'epoch' }] });
    expect(rig.last.ended).toBeNull();
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('still ends an instance whose epoch of today is fenced', () => {
    const rig = calm();
    rig.order(putOutFar);
    rig.settle();
    rig.arrive(frameOf(['a'], lasting));
    rig.execute(rig.flight('near'), { votes: [{ kind: 'fenced', by: 'epoch' }] });
    expect(rig.last.ended).toContain('near has seen a later epoch');
  });
});

// Every change is one storage write with a new epoch and an entry of the history.
describe('the storage write that puts a voter out', () => {
  it('holds the epoch, the entry, the membership and the events owed, in one step', () => {
    const subscriptions = [
      {
        endpoint: 'ep_all',
        url: 'https://example.com/all',
        events: ['region.out', 'region.returned'] as const,
        prefixes: [],
        values: false,
        description: '',
        owner: null,
        disabled: null,
        createdAt: 1,
      },
    ];
    const rig = calm({ stored: { subscriptions, sequence: 41, epoch: 6 } });
    rig.order(putOutFar);
    for (const send of rig.flights) rig.execute(send);
    const step = rig.steps.find(({ persist }) => persist.some(({ kind }) => kind === 'owe-region'));
    const change = {
      sequence: 43,
      at: rig.now,
      epoch: 7,
      region: 'far',
      event: 'out',
      cause: 'ordered',
      detail: 'for repairs',
    };
    expect(step?.persist).toContainEqual({ kind: 'members', epoch: 7, changes: [change] });
    expect(step?.persist).toContainEqual({
      kind: 'owe-region',
      events: [{ endpoint: 'ep_all', id: 'far.region.out.43', type: 'region.out', change }],
    });
    expect(rig.tables.regions.get('far')?.membership).toMatchObject({ state: 'out', held: true });
    expect(rig.tables).toMatchObject({ epoch: 7, sequence: 43 });
  });

  it('leaves gaps in the sequences of writes, and none in those of all changes', () => {
    const rig = calm();
    const first = rig.arrive(frameOf(['a'], lasting));
    rig.settle();
    rig.order(putOutFar);
    rig.settle();
    const second = rig.arrive(frameOf(['a'], lasting));
    rig.settle();
    expect(rig.record(first).sequence).toBe(1);
    expect(rig.changes.map(({ sequence }) => sequence)).toEqual([2, 3]);
    expect(rig.record(second).sequence).toBe(4);
  });

  it('survives a restart: the region is out, and the others decide without it', () => {
    const { rig: before } = silent();
    before.run(timing.outAfterMs, others);
    const rig = before.restarted();
    rig.tick();
    const ticket = rig.arrive(frameOf(['b'], lasting));
    rig.run(limits.probeBackoffMinMs, others);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(rig.core.status().epoch).toBe(2);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent' });
  });
});
