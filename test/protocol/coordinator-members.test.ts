import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, timing } from './core-harness.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A harness without older leases and with a write under way, to which `far` has just failed to vote. */
function silent() {
  const harness = CoreHarness.calm();
  const ticket = harness.arrive(frameOf(['a'], lasting));
  harness.executeAll(others);
  harness.silence(harness.flight('far'));
  return { harness, ticket };
}

const evictFar = { kind: 'put-out', region: 'far', reason: 'for repairs' } as const;

// R31: writes wait for every voter, so one that fails must leave, and one that does not need not.
describe('a voter that is silent', () => {
  it('for less than outAfterMs stays, and all regions decide the write', () => {
    const { harness, ticket } = silent();
    harness.run(timing.outAfterMs - 200, others);
    expect(harness.statusOf('far')).toMatchObject({
      state: 'voter',
      health: 'silent',
      cause: null,
    });
    harness.run(limits.probeBackoffMaxMs);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(harness.regions);
    expect(harness.changes).toEqual([]);
    expect(harness.core.status().epoch).toBe(1);
  });

  it('for outAfterMs is evicted, and the others decide the write in a new epoch', () => {
    const { harness, ticket } = silent();
    harness.run(timing.outAfterMs, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent', held: false });
    harness.run(limits.probeBackoffMaxMs, others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(harness.core.status().epoch).toBe(2);
    for (const { round } of harness.rounds.slice(-2)) expect(round.epoch).toBe(2);
  });

  it('counts as silent from the time at which its first unanswered round left', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    const lost = harness.flight('far');
    harness.run(timing.outAfterMs - 1, others, [lost]);
    expect(harness.statusOf('far').state).toBe('voter');
    harness.run(1, others, [lost]);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('counts as silent only from the next silence, once it has answered a probe', () => {
    const { harness } = silent();
    harness.run(timing.outAfterMs - 200, others);
    harness.run(limits.probeBackoffMaxMs);
    harness.arrive(frameOf(['b'], lasting));
    harness.run(timing.outAfterMs - 1, others);
    expect(harness.statusOf('far').state).toBe('voter');
  });

  it('leaves together with another one in one epoch, if both have been silent for outAfterMs', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(timing.outAfterMs + limits.probeBackoffMaxMs, ['near']);
    expect(harness.changes.map(({ region, event, epoch }) => [region, event, epoch])).toEqual([
      ['middle', 'out', 2],
      ['far', 'out', 2],
    ]);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(['near']);
  });

  it('stays if no region answers: a coordinator without a network evicts no region', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    harness.run(20 * timing.outAfterMs, []);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    expect(harness.changes).toEqual([]);
  });

  it('stays if it is the last one, and the write is decided once it answers', () => {
    const harness = CoreHarness.calm({ regions: ['only'] });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(20 * timing.outAfterMs, []);
    harness.run(2 * limits.probeBackoffMaxMs);
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed' });
    expect(harness.core.status().epoch).toBe(1);
  });

  it('that holds the state of another coordinator for as long is evicted as foreign, and returns only manually', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited <= timing.outAfterMs; waited += 100) {
      for (const send of harness.flightsTo('far')) {
        harness.end(send, { kind: 'refused', refusal: { kind: 'generation', has: 12, keys: 0 } });
      }
      harness.run(100, others, harness.flightsTo('far'));
    }
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(harness.statusOf('far').missedKeys).toBeNull();
  });
});

// R32: a reader there must not miss a write, and the one that stays must be whole.
describe('a voter that is to leave', () => {
  it('stays until its lease is over, though it was silent for longer', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    const { leaseMs } = harness.statusOf('far');
    expect(leaseMs).toBeGreaterThan(timing.outAfterMs);
    harness.arrive(frameOf(['a'], lasting));
    harness.run(leaseMs - 1, others);
    expect(harness.statusOf('far').state).toBe('voter');
    harness.run(1, others);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('stays until a lease is over that an earlier instance may have granted', () => {
    const harness = new CoreHarness();
    harness.tick();
    harness.run(100, others);
    const sinceFirstAnswer = 100;
    const leaseMs = limits.leaseTtlMs + limits.leaseDriftMs;
    harness.run(leaseMs - sinceFirstAnswer - 1, others);
    expect(harness.statusOf('far').state).toBe('voter');
    harness.run(1, others);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('stays until every other voter has executed a round that left after the suspicion', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    harness.advance(5);
    expect(harness.command(evictFar).kind).toBe('taken');
    const before = harness.flights.filter(({ round }) => round.prepares.length > 0);
    for (const send of before) if (send.region !== 'far') harness.execute(send);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    harness.execute(harness.flight('near'));
    expect(harness.statusOf('far').state).toBe('voter');
    harness.execute(harness.flight('middle'));
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('stays until these rounds have left after the end of its lease, too', () => {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    const { leaseMs } = harness.statusOf('far');
    harness.command(evictFar);
    harness.run(leaseMs - 1);
    harness.arrive(frameOf(['a'], lasting));
    const early = harness.flights;
    harness.advance(1);
    for (const send of early) harness.execute(send);
    expect(harness.statusOf('far').state).toBe('voter');
    harness.run(0);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('stays if the only other voter turns out to have lost writes, which then leaves in its place', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    harness.arrive(frameOf(['a'], lasting));
    harness.execute(harness.flight('near'));
    harness.run(timing.outAfterMs, [], harness.flights);
    harness.end(harness.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    harness.run(2 * timing.outAfterMs, []);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual(['voter', 'voter']);
    harness.run(2 * limits.probeBackoffMaxMs, ['far']);
    expect(harness.statusOf('near')).toMatchObject({ state: 'out', cause: 'lost' });
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: null });
  });

  it('by an admin command stays while another must leave, and leaves when that one has returned', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    harness.command(evictFar);
    harness.end(harness.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    harness.run(100, ['far']);
    expect(harness.statusOf('near')).toMatchObject({ state: 'out', cause: 'lost' });
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'ordered' });
    harness.run(limits.probeBackoffMaxMs);
    expect(harness.changes.map(({ region, event }) => `${region} ${event}`)).toEqual([
      'far leaving',
      'near leaving',
      'near out',
      'near copying',
      'near returned',
      'far out',
    ]);
  });

  it('has the undecided transactions aborted when it leaves, and the others retry them', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    const checks = harness.flights;
    const ticket = harness.arrive(frameOf(['a'], lasting));
    const [prepare] = harness.flightsTo('near').filter((send) => !checks.includes(send));
    if (prepare === undefined) throw new Error('it is being prepared');
    harness.execute(prepare);
    expect(harness.core.status().undecided).toBe(1);
    for (const send of checks) if (send.region !== 'far') harness.execute(send);
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    harness.settle();
    const { attempts, votes, transaction } = harness.record(ticket);
    expect({ attempts, transaction }).toEqual({ attempts: 2, transaction: '0.3.2' });
    expect(votes.map(({ region }) => region)).toEqual(others);
    expect(harness.deciding('far')).toEqual([]);
  });

  it('is released only by answers of this epoch: a vote fenced by an older one ends nothing', () => {
    const harness = CoreHarness.calm();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    const late = harness.flight('near');
    harness.advance(1);
    harness.command(evictFar);
    const checks = harness.flights.filter((send) => send !== late && send.region !== 'far');
    for (const send of checks) harness.execute(send);
    expect(harness.core.status().epoch).toBe(2);
    harness.execute(late, { votes: [{ kind: 'fenced', by: 'epoch' }] });
    expect(harness.last.ended).toBeNull();
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('still ends an instance whose current epoch is fenced', () => {
    const harness = CoreHarness.calm();
    harness.command(evictFar);
    harness.settle();
    harness.arrive(frameOf(['a'], lasting));
    harness.execute(harness.flight('near'), { votes: [{ kind: 'fenced', by: 'epoch' }] });
    expect(harness.last.ended).toContain('near has seen a later epoch');
  });
});

// Every change is one storage write with a new epoch and an entry of the history.
describe('the storage write that evicts a voter', () => {
  it('holds the epoch, the entry, the membership and the events of the outbox, in one step', () => {
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
    const harness = CoreHarness.calm({ stored: { subscriptions, sequence: 41, epoch: 6 } });
    harness.command(evictFar);
    for (const send of harness.flights) harness.execute(send);
    const step = harness.steps.find(({ persist }) =>
      persist.some(({ kind }) => kind === 'queue-region-events'),
    );
    const change = {
      sequence: 43,
      at: harness.now,
      epoch: 7,
      region: 'far',
      event: 'out',
      cause: 'ordered',
      detail: 'for repairs',
    };
    expect(step?.persist).toContainEqual({ kind: 'members', epoch: 7, changes: [change] });
    expect(step?.persist).toContainEqual({
      kind: 'queue-region-events',
      events: [{ endpoint: 'ep_all', id: 'far.region.out.43', type: 'region.out', change }],
    });
    expect(harness.tables.regions.get('far')?.membership).toMatchObject({
      state: 'out',
      manualReturn: true,
    });
    expect(harness.tables).toMatchObject({ epoch: 7, sequence: 43 });
  });

  it('leaves gaps in the sequences of writes, and none in those of all changes', () => {
    const harness = CoreHarness.calm();
    const first = harness.arrive(frameOf(['a'], lasting));
    harness.settle();
    harness.command(evictFar);
    harness.settle();
    const second = harness.arrive(frameOf(['a'], lasting));
    harness.settle();
    expect(harness.record(first).sequence).toBe(1);
    expect(harness.changes.map(({ sequence }) => sequence)).toEqual([2, 3]);
    expect(harness.record(second).sequence).toBe(4);
  });

  it('survives a restart: the region is out, and the others decide without it', () => {
    const { harness: before } = silent();
    before.run(timing.outAfterMs, others);
    const harness = before.restarted();
    harness.tick();
    const ticket = harness.arrive(frameOf(['b'], lasting));
    harness.run(limits.probeBackoffMinMs, others);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(others);
    expect(harness.core.status().epoch).toBe(2);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'silent' });
  });
});
