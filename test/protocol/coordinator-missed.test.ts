import { describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import { limits } from '../../shared/limits.ts';
import { OwedDecisions } from '../../shared/protocol/regions/unacknowledged.ts';
import { frameOf, Rig, type RigOptions, timing } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A rig in which `far` is out, as `given` says, and does not answer. */
function without(given: Parameters<typeof outOf>[1] = {}, options: RigOptions = {}): Rig {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far', given)];
  const rig = new Rig({ ...options, stored: { regions, ...options.stored } });
  rig.tick();
  rig.run(20, others);
  return rig;
}

/** Commits a write to `keys`, and has it acknowledged by those who answer. */
function commit(rig: Rig, keys: readonly string[]): void {
  rig.arrive(frameOf(keys, lasting));
  rig.run(20, others);
}

function marksOf(rig: Rig, region: string): unknown {
  return Object.fromEntries(rig.tables.missed.get(region) ?? []);
}

// R33: what returns has to be complete, after a crash at any moment too.
describe('the keys that a region has missed', () => {
  /** A rig in which `far` has voted for two writes and acknowledges none of them. */
  function unacknowledged(given: Partial<Parameters<typeof frameOf>[1]> = {}) {
    const rig = Rig.greeted();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const frames = [['a', 'b'], ['c']].map((keys) => frameOf(keys, { ...lasting, ...given }));
    const tickets = frames.map((frame) => rig.arrive(frame));
    rig.executeAll();
    rig.run(timing.outAfterMs, others);
    return { rig, tickets };
  }

  it('are marked with the storage write that puts it out, each with the sequence of its commit', () => {
    const { rig } = unacknowledged();
    const step = rig.steps.find(({ persist }) => persist.some(({ kind }) => kind === 'missed'));
    const keys = [
      ['a', 1],
      ['b', 1],
      ['c', 2],
    ];
    expect(step?.persist).toContainEqual({ kind: 'missed', missed: { region: 'far', keys } });
    expect(step?.persist).toContainEqual(
      expect.objectContaining({
        kind: 'members',
        changes: [expect.objectContaining({ event: 'out' })],
      }),
    );
    expect(rig.statusOf('far')).toMatchObject({ missedKeys: 3, unacknowledged: 0 });
  });

  it('are no reason for anybody to wait: the writes are confirmed, and tell who has applied them', () => {
    const { rig, tickets } = unacknowledged({ ack: 'confirmed' });
    for (const ticket of tickets) expect(rig.record(ticket).appliedIn).toEqual(others);
    const confirmed = rig.persisted.flatMap((write) =>
      write.kind === 'confirm' ? write.transactions : [],
    );
    expect(confirmed).toEqual([
      [3, 1],
      [3, 2],
    ]);
  });

  it('count with their last commit, where several are unacknowledged', () => {
    const owed = new OwedDecisions();
    const decisions = [
      { transaction: [1, 1], outcome: 'commit', keys: ['a', 'b'] },
      { transaction: [1, 2], outcome: 'commit', keys: ['b'] },
      { transaction: [1, 3], outcome: 'abort', keys: ['a', 'b', 'c'] },
    ] as const;
    for (const [at, decision] of decisions.entries()) owed.add(decision, at + 7, 10, 0);
    expect(owed.abandon()).toEqual([
      ['a', 7],
      ['b', 8],
    ]);
    expect(owed.count).toBe(0);
  });

  it('are not those of transactions that were aborted', () => {
    const rig = Rig.greeted();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.arrive(frameOf(['a'], { notAfter: rig.now + 100 }));
    rig.run(timing.outAfterMs, ['near']);
    expect(rig.statusOf('middle').state).toBe('out');
    expect(rig.tables.missed.size).toBe(0);
  });

  it('are named with each decision, in its own storage write, at its sequence', () => {
    const rig = without();
    commit(rig, ['a', 'b']);
    commit(rig, ['b']);
    const commits = rig.persisted.filter((write) => write.kind === 'commit');
    expect(commits.map(({ missedBy }) => missedBy)).toEqual([['far'], ['far']]);
    expect(marksOf(rig, 'far')).toEqual({ a: 1, b: 2 });
    expect(rig.statusOf('far').missedKeys).toBe(2);
  });

  it('are none of a message, of which there is nothing to copy, and nobody is told a key', () => {
    const rig = without();
    commit(rig, ['a', channelKey('news')]);
    commit(rig, [channelKey('news')]);
    expect(marksOf(rig, 'far')).toEqual({ a: 1 });
    expect(rig.statusOf('far').missedKeys).toBe(1);
    const commits = rig.persisted.filter((write) => write.kind === 'commit');
    expect(commits.flatMap(({ writes }) => writes.map(({ keys }) => keys))).toEqual([['a'], []]);
    // Its decision holds all that its regions have locked.
    expect(commits.map(({ keys }) => keys)).toEqual([
      ['a', channelKey('news')],
      [channelKey('news')],
    ]);
  });

  it('are none of a message that was not acknowledged either', () => {
    const rig = Rig.greeted();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.arrive(frameOf(['a', channelKey('news')], lasting));
    rig.executeAll();
    rig.run(timing.outAfterMs, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: 1 });
    expect(marksOf(rig, 'far')).toEqual({ a: 1 });
  });

  it('are those of no region where all vote', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.settle();
    expect(rig.persisted).toContainEqual(expect.objectContaining({ kind: 'commit', missedBy: [] }));
  });

  it('are known after a restart, and grow', () => {
    const before = without();
    commit(before, ['a']);
    const rig = before.restarted();
    rig.tick();
    rig.run(20, others);
    expect(rig.statusOf('far').missedKeys).toBe(1);
    commit(rig, ['b']);
    expect(rig.statusOf('far').missedKeys).toBe(2);
  });

  it('are noted by nobody where all of them will be copied', () => {
    const rig = without({ whole: true, cause: 'lost' });
    commit(rig, ['a']);
    expect(rig.persisted).toContainEqual(expect.objectContaining({ kind: 'commit', missedBy: [] }));
    expect(rig.statusOf('far').missedKeys).toBeNull();
  });

  it('are noted again from the moment at which a whole copy begins', () => {
    const rig = without({ whole: true, cause: 'lost' });
    rig.run(limits.probeBackoffMinMs - 20, others);
    rig.execute(rig.flight('far'));
    expect(rig.statusOf('far').state).toBe('copying');
    rig.arrive(frameOf(['a'], lasting));
    rig.executeAll(others);
    expect(rig.persisted).toContainEqual(
      expect.objectContaining({ kind: 'commit', missedBy: ['far'] }),
    );
  });

  it('are forgotten where the region turns out to have lost writes: all of it is copied then', () => {
    const rig = without({}, { stored: { missed: [{ region: 'far', keys: [['a', 1]] }] } });
    rig.run(limits.probeBackoffMinMs, others, []);
    for (const send of rig.flightsTo('far')) {
      rig.end(send, { kind: 'refused', refusal: { kind: 'lost' } });
    }
    expect(rig.persisted).toContainEqual({ kind: 'copied', region: 'far', keys: null });
    expect(rig.tables.regions.get('far')).toMatchObject({
      membership: { whole: true, cause: 'lost' },
    });
  });

  it('are as many as there may be; with one more, everything is copied instead', () => {
    const keys = Array.from(
      { length: limits.missedKeysPerRegion - 1 },
      (_, at) => [`k${at}`, 1] as const,
    );
    const rig = without({}, { stored: { missed: [{ region: 'far', keys }], sequence: 1 } });
    commit(rig, ['a']);
    expect(rig.statusOf('far').missedKeys).toBe(limits.missedKeysPerRegion);
    expect(rig.persisted).not.toContainEqual(expect.objectContaining({ kind: 'copied' }));
    commit(rig, ['b']);
    expect(rig.statusOf('far').missedKeys).toBeNull();
    expect(rig.tables.missed.get('far')).toBeUndefined();
    expect(rig.tables.regions.get('far')?.membership).toMatchObject({ state: 'out', whole: true });
  });
});

// R38: nobody should find out later that a write had been in one place only.
describe('a shard with too few voters', () => {
  const refusal = {
    kind: 'unavailable',
    code: 'too-few-voters',
    reason: '2 of at least 3 regions can vote',
    faults: [{ region: 'far', reason: 'connection refused' }],
  };

  it('refuses writes at once, naming those who cannot vote', () => {
    const rig = without({}, { minVoters: 3 });
    expect(rig.told(rig.arrive(frameOf(['a'], lasting)))).toMatchObject(refusal);
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
    expect(rig.rounds.flatMap(({ round }) => round.prepares)).toEqual([]);
  });

  it('gives up what waits in the step in which it becomes one', () => {
    const rig = Rig.greeted({ minVoters: 3 });
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(timing.outAfterMs, others);
    expect(rig.statusOf('far').state).toBe('out');
    expect(rig.told(ticket)).toMatchObject({ ...refusal, faults: [{ region: 'far' }] });
    expect(rig.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });

  it('takes the vote of one that fails all the same', () => {
    const rig = Rig.greeted({ minVoters: 3 });
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.run(100, others);
    expect(rig.statusOf('far').state).toBe('out');
  });

  it('writes again as soon as the missing one has returned', () => {
    const rig = without({}, { minVoters: 3 });
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.settle();
    expect(rig.record(ticket).votes).toHaveLength(3);
  });

  it('takes writes with exactly as many as it needs', () => {
    const rig = without({}, { minVoters: 2 });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(20, others);
    expect(rig.record(ticket).votes).toHaveLength(2);
  });
});
