import { describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import { limits } from '../../shared/limits.ts';
import { UnacknowledgedDecisions } from '../../shared/protocol/regions/unacknowledged.ts';
import { CoreHarness, frameOf, type HarnessOptions, timing } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A harness in which `far` is out, as `given` says, and does not answer. */
function without(
  given: Parameters<typeof outOf>[1] = {},
  options: HarnessOptions = {},
): CoreHarness {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far', given)];
  const harness = new CoreHarness({ ...options, stored: { regions, ...options.stored } });
  harness.tick();
  harness.run(20, others);
  return harness;
}

/** Commits a write to `keys`, and has it acknowledged by those who answer. */
function commit(harness: CoreHarness, keys: readonly string[]): void {
  harness.arrive(frameOf(keys, lasting));
  harness.run(20, others);
}

function marksOf(harness: CoreHarness, region: string): unknown {
  return Object.fromEntries(harness.tables.missed.get(region) ?? []);
}

// R33: a region that returns has to be complete, after a crash at any moment too.
describe('the keys that a region has missed', () => {
  /** A harness in which `far` has voted for two writes and acknowledges none of them. */
  function unacknowledged(given: Partial<Parameters<typeof frameOf>[1]> = {}) {
    const harness = CoreHarness.begun();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const frames = [['a', 'b'], ['c']].map((keys) => frameOf(keys, { ...lasting, ...given }));
    const tickets = frames.map((frame) => harness.arrive(frame));
    harness.executeAll();
    // Writes that come together have commits that wait for company.
    harness.run(limits.commitLingerMs + timing.outAfterMs, others);
    return { harness, tickets };
  }

  it('are stored with the write that evicts the region, each with the sequence of its commit', () => {
    const { harness } = unacknowledged();
    const step = harness.steps.find(({ persist }) => persist.some(({ kind }) => kind === 'missed'));
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
    expect(harness.statusOf('far')).toMatchObject({ missedKeys: 3, unacknowledged: 0 });
  });

  it('delay no confirmation: the writes are confirmed, and report the regions that have applied them', () => {
    const { harness, tickets } = unacknowledged({ ack: 'confirmed' });
    for (const ticket of tickets) expect(harness.record(ticket).appliedIn).toEqual(others);
    const confirmed = harness.persisted.flatMap((write) =>
      write.kind === 'confirm' ? write.transactions : [],
    );
    expect(confirmed).toEqual([
      [3, 1],
      [3, 2],
    ]);
  });

  it('have the sequence of their last commit, if several are unacknowledged', () => {
    const unacknowledged = new UnacknowledgedDecisions();
    const decisions = [
      { transaction: [1, 1], outcome: 'commit', keys: ['a', 'b'] },
      { transaction: [1, 2], outcome: 'commit', keys: ['b'] },
      { transaction: [1, 3], outcome: 'abort', keys: ['a', 'b', 'c'] },
    ] as const;
    for (const [at, decision] of decisions.entries()) unacknowledged.add(decision, at + 7, 10, 0);
    expect(unacknowledged.abandon()).toEqual([
      ['a', 7],
      ['b', 8],
    ]);
    expect(unacknowledged.count).toBe(0);
  });

  it('do not include those of transactions that were aborted', () => {
    const harness = CoreHarness.begun();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.arrive(frameOf(['a'], { notAfter: harness.now + 100 }));
    harness.run(timing.outAfterMs, ['near']);
    expect(harness.statusOf('middle').state).toBe('out');
    expect(harness.tables.missed.size).toBe(0);
  });

  it('are named with each decision, in its own storage write, at its sequence', () => {
    const harness = without();
    commit(harness, ['a', 'b']);
    commit(harness, ['b']);
    const commits = harness.persisted.filter((write) => write.kind === 'commit');
    expect(commits.map(({ missedBy }) => missedBy)).toEqual([['far'], ['far']]);
    expect(marksOf(harness, 'far')).toEqual({ a: 1, b: 2 });
    expect(harness.statusOf('far').missedKeys).toBe(2);
  });

  it('do not include those of a message, which leaves nothing to copy, and no subscriber is sent a key', () => {
    const harness = without();
    commit(harness, ['a', channelKey('news')]);
    commit(harness, [channelKey('news')]);
    expect(marksOf(harness, 'far')).toEqual({ a: 1 });
    expect(harness.statusOf('far').missedKeys).toBe(1);
    const commits = harness.persisted.filter((write) => write.kind === 'commit');
    expect(commits.flatMap(({ writes }) => writes.map(({ keys }) => keys))).toEqual([['a'], []]);
    // Its decision holds all that its regions have locked.
    expect(commits.map(({ keys }) => keys)).toEqual([
      ['a', channelKey('news')],
      [channelKey('news')],
    ]);
  });

  it('do not include those of a message that was not acknowledged either', () => {
    const harness = CoreHarness.begun();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.arrive(frameOf(['a', channelKey('news')], lasting));
    harness.executeAll();
    // Writes that come together have commits that wait for company.
    harness.run(limits.commitLingerMs + timing.outAfterMs, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: 1 });
    expect(marksOf(harness, 'far')).toEqual({ a: 1 });
  });

  it('are not recorded while all regions vote', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.settle();
    expect(harness.persisted).toContainEqual(
      expect.objectContaining({ kind: 'commit', missedBy: [] }),
    );
  });

  it('are kept after a restart, and grow', () => {
    const before = without();
    commit(before, ['a']);
    const harness = before.restarted();
    harness.tick();
    harness.run(20, others);
    expect(harness.statusOf('far').missedKeys).toBe(1);
    commit(harness, ['b']);
    expect(harness.statusOf('far').missedKeys).toBe(2);
  });

  it('are not recorded if all keys will be copied', () => {
    const harness = without({ whole: true, cause: 'lost' });
    commit(harness, ['a']);
    expect(harness.persisted).toContainEqual(
      expect.objectContaining({ kind: 'commit', missedBy: [] }),
    );
    expect(harness.statusOf('far').missedKeys).toBeNull();
  });

  it('are recorded again as soon as everything is being copied', () => {
    const harness = without({ whole: true, cause: 'lost' });
    harness.run(limits.probeBackoffMinMs - 20, others);
    harness.execute(harness.flight('far'));
    expect(harness.statusOf('far').state).toBe('copying');
    harness.arrive(frameOf(['a'], lasting));
    harness.executeAll(others);
    expect(harness.persisted).toContainEqual(
      expect.objectContaining({ kind: 'commit', missedBy: ['far'] }),
    );
  });

  it('are forgotten if the region turns out to have lost writes: all of it is copied then', () => {
    const harness = without({}, { stored: { missed: [{ region: 'far', keys: [['a', 1]] }] } });
    harness.run(limits.probeBackoffMinMs, others, []);
    for (const send of harness.flightsTo('far')) {
      harness.end(send, { kind: 'refused', refusal: { kind: 'lost' } });
    }
    expect(harness.persisted).toContainEqual({ kind: 'copied', region: 'far', keys: null });
    expect(harness.tables.regions.get('far')).toMatchObject({
      membership: { whole: true, cause: 'lost' },
    });
  });

  it('are bounded; with one more, everything is copied instead', () => {
    const keys = Array.from(
      { length: limits.missedKeysPerRegion - 1 },
      (_, at) => [`k${at}`, 1] as const,
    );
    const harness = without({}, { stored: { missed: [{ region: 'far', keys }], sequence: 1 } });
    commit(harness, ['a']);
    expect(harness.statusOf('far').missedKeys).toBe(limits.missedKeysPerRegion);
    expect(harness.persisted).not.toContainEqual(expect.objectContaining({ kind: 'copied' }));
    commit(harness, ['b']);
    expect(harness.statusOf('far').missedKeys).toBeNull();
    expect(harness.tables.missed.get('far')).toBeUndefined();
    expect(harness.tables.regions.get('far')?.membership).toMatchObject({
      state: 'out',
      whole: true,
    });
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

  it('refuses writes at once, naming the regions that cannot vote', () => {
    const harness = without({}, { minVoters: 3 });
    expect(harness.answerTo(harness.arrive(frameOf(['a'], lasting)))).toMatchObject(refusal);
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
    expect(harness.rounds.flatMap(({ round }) => round.prepares)).toEqual([]);
  });

  it('gives up the waiting writes in the step in which the shard has too few voters', () => {
    const harness = CoreHarness.begun({ minVoters: 3 });
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(timing.outAfterMs, others);
    expect(harness.statusOf('far').state).toBe('out');
    expect(harness.answerTo(ticket)).toMatchObject({ ...refusal, faults: [{ region: 'far' }] });
    expect(harness.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });

  it('still counts the vote of a voter that fails', () => {
    const harness = CoreHarness.begun({ minVoters: 3 });
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.run(100, others);
    expect(harness.statusOf('far').state).toBe('out');
  });

  it('writes again as soon as the missing region has returned', () => {
    const harness = without({}, { minVoters: 3 });
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.settle();
    expect(harness.record(ticket).votes).toHaveLength(3);
  });

  it('accepts writes with exactly as many voters as it needs', () => {
    const harness = without({}, { minVoters: 2 });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(20, others);
    expect(harness.record(ticket).votes).toHaveLength(2);
  });
});
