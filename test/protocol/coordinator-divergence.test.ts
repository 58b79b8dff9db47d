import { describe, expect, it } from 'vitest';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf } from './core-harness.ts';
import { yes } from './replies.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** Every prepare on its way is executed: in each region with the result that `results` names for it. */
function vote(harness: CoreHarness, results: Readonly<Record<RegionId, number>>): void {
  for (const send of harness.flights) {
    const votes = send.round.prepares.map(({ keys, parts }) =>
      yes(
        keys.map(() => ''),
        ...parts.map(() => `[0,${results[send.region] ?? 0}]`),
      ),
    );
    if (votes.length > 0) harness.execute(send, { votes });
  }
}

// R39: only a majority can show which value is right.
describe('a divergence with a majority', () => {
  /** A harness in which `far` has just said something else than the others about a write to `a`. */
  function diverged() {
    const harness = CoreHarness.calm();
    harness.requestLease('far');
    harness.run(0);
    const ticket = harness.arrive(frameOf(['a'], lasting));
    vote(harness, { near: 1, middle: 1, far: 2 });
    return { harness, ticket };
  }

  it('quarantines the others at once: nothing is prepared before they are evicted', () => {
    const { harness, ticket } = diverged();
    expect(harness.statusOf('far')).toMatchObject({
      state: 'voter',
      cause: 'diverged',
      circuit: 'open',
    });
    expect(harness.core.status()).toMatchObject({ undecided: 0, queued: 1, blockedKeys: 0 });
    harness.run(limits.leaseTtlMs);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.answerTo(ticket)).toBeUndefined();
    expect(harness.preparing('near')).toEqual([]);
  });

  it('evicts the others when their leases end, copies all of them, and decides the write without them', () => {
    const { harness, ticket } = diverged();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs, ['near', 'middle']);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'diverged', held: false });
    expect(harness.statusOf('far').missedKeys).toBeNull();
    harness.run(limits.probeBackoffMaxMs, ['near', 'middle']);
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
    const steps = harness.rounds.flatMap(({ round }) =>
      round.copy === null ? [] : [round.copy.kind],
    );
    expect(steps).toContain('scan');
  });

  it('is reported by an entry of the history and an event', () => {
    const { harness } = diverged();
    expect(harness.changes).toMatchObject([
      { region: 'far', event: 'diverged', cause: 'diverged', epoch: 1 },
    ]);
    expect(harness.changes[0]?.detail).toContain('computed different results');
  });

  it('aborts the other undecided transactions, as votes outside the majority no longer count', () => {
    const harness = CoreHarness.calm();
    harness.arrive(frameOf(['a'], lasting));
    const [other] = [harness.arrive(frameOf(['b'], lasting))];
    const first = harness.flights.filter(({ round }) => round.prepares[0]?.keys[0] === 'a');
    const later = harness.flights.filter((send) => !first.includes(send));
    for (const send of first) {
      const votes = [yes([''], send.region === 'far' ? '[0,2]' : '[0,1]')];
      harness.execute(send, { votes });
    }
    expect(harness.resolve([[3, 2]])).toEqual([{ kind: 'aborted', transaction: [3, 2] }]);
    for (const send of later) harness.execute(send);
    expect(harness.answerTo(other)).toBeUndefined();
    harness.run(limits.probeBackoffMaxMs, ['near', 'middle']);
    expect(harness.record(other).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
  });
});

describe('a divergence without a majority', () => {
  /** A harness of two regions that have just said different things about a write to `a`. */
  function torn() {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    vote(harness, { near: 1, far: 2 });
    return { harness, ticket };
  }

  const repair = {
    kind: 'repair',
    source: 'near',
    keys: [{ key: 'a', regions: ['far'] }],
  } as const;

  it('refuses the write and every later one to the key, by name, and evicts no region', () => {
    const { harness, ticket } = torn();
    const refusal = { kind: 'unavailable', code: 'diverged' };
    expect(harness.answerTo(ticket)).toMatchObject(refusal);
    const later = harness.arrive(frameOf(['b', 'a'], lasting));
    expect(harness.answerTo(later)).toMatchObject(refusal);
    expect(harness.core.status().regions.map(({ state, cause }) => [state, cause])).toEqual([
      ['voter', null],
      ['voter', null],
    ]);
  });

  it('stores the key as blocked before anyone is answered, with an entry per voter', () => {
    const { harness } = torn();
    const detail = expect.stringContaining('different results');
    expect(harness.last.persist).toContainEqual({ kind: 'block', keys: [{ key: 'a', detail }] });
    expect(harness.changes.map(({ region, event }) => [region, event])).toEqual([
      ['near', 'diverged'],
      ['far', 'diverged'],
    ]);
    expect(harness.core.inDoubt().blocked).toEqual([{ key: 'a', detail }]);
  });

  it('leaves other keys alone', () => {
    const { harness } = torn();
    const ticket = harness.arrive(frameOf(['b'], lasting));
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('gives up the writes that wait for the key', () => {
    const harness = CoreHarness.calm({ regions: ['near', 'far'] });
    harness.arrive(frameOf(['a'], lasting));
    const waiting = harness.arrive(frameOf(['a', 'c'], lasting));
    vote(harness, { near: 1, far: 2 });
    expect(harness.answerTo(waiting)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
    expect(harness.core.status().queued).toBe(0);
  });

  it('still refuses writes to the key after a restart', () => {
    const harness = torn().harness.restarted();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
  });

  it('ends when an operator names a source: the others leave, get the key, and vote again', () => {
    const { harness } = torn();
    expect(harness.command(repair).kind).toBe('taken');
    expect(harness.last.persist).toContainEqual({ kind: 'unblock', keys: ['a'] });
    harness.run(2 * limits.copyPauseMs);
    const written = harness.rounds.flatMap(({ region, round }) =>
      round.copy?.kind === 'write' ? [[region, ...round.copy.data]] : [],
    );
    expect(written).toEqual([['far', 'data of a']]);
    expect(harness.statusOf('far').state).toBe('voter');
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.settle();
    expect(harness.record(ticket).votes).toHaveLength(2);
  });
});
