import { describe, expect, it } from 'vitest';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, type RigOptions } from './core-harness.ts';
import { yes } from './replies.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A greeted rig in which no lease is left that an earlier life could have granted. */
function calm(options: RigOptions = {}): Rig {
  const rig = Rig.greeted(options);
  rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
  return rig;
}

/** Every prepare on its way is executed: in each region with the result that `results` names for it. */
function vote(rig: Rig, results: Readonly<Record<RegionId, number>>): void {
  for (const send of rig.flights) {
    const votes = send.round.prepares.map(({ keys, parts }) =>
      yes(
        keys.map(() => ''),
        ...parts.map(() => `[0,${results[send.region] ?? 0}]`),
      ),
    );
    if (votes.length > 0) rig.execute(send, { votes });
  }
}

// R39: there is no telling which one is right, but where most say the same.
describe('a divergence with a majority', () => {
  /** A rig in which `far` has just said something else than the others about a write to `a`. */
  function diverged() {
    const rig = calm();
    rig.want('far');
    rig.run(0);
    const ticket = rig.arrive(frameOf(['a'], lasting));
    vote(rig, { near: 1, middle: 1, far: 2 });
    return { rig, ticket };
  }

  it('makes the others untrusted at once: nothing is prepared before they are out', () => {
    const { rig, ticket } = diverged();
    expect(rig.statusOf('far')).toMatchObject({
      state: 'voter',
      cause: 'diverged',
      circuit: 'open',
    });
    expect(rig.core.status()).toMatchObject({ undecided: 0, queued: 1, blockedKeys: 0 });
    rig.run(limits.leaseTtlMs);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.told(ticket)).toBeUndefined();
    expect(rig.preparing('near')).toEqual([]);
  });

  it('puts them out when their leases are over, copies all of them, and decides the write without them', () => {
    const { rig, ticket } = diverged();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs, ['near', 'middle']);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'diverged', held: false });
    expect(rig.statusOf('far').missedKeys).toBeNull();
    rig.run(limits.probeBackoffMaxMs, ['near', 'middle']);
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
    const steps = rig.rounds.flatMap(({ round }) => (round.copy === null ? [] : [round.copy.kind]));
    expect(steps).toContain('scan');
  });

  it('is told of: an entry of the history and an event', () => {
    const { rig } = diverged();
    expect(rig.changes).toMatchObject([
      { region: 'far', event: 'diverged', cause: 'diverged', epoch: 1 },
    ]);
    expect(rig.changes[0]?.detail).toContain('computed different results');
  });

  it('aborts what else is undecided: the vote of those outside counts no more', () => {
    const rig = calm();
    rig.arrive(frameOf(['a'], lasting));
    const [other] = [rig.arrive(frameOf(['b'], lasting))];
    const first = rig.flights.filter(({ round }) => round.prepares[0]?.keys[0] === 'a');
    const later = rig.flights.filter((send) => !first.includes(send));
    for (const send of first) {
      const votes = [yes([''], send.region === 'far' ? '[0,2]' : '[0,1]')];
      rig.execute(send, { votes });
    }
    expect(rig.ask([[3, 2]])).toEqual([{ kind: 'aborted', transaction: [3, 2] }]);
    for (const send of later) rig.execute(send);
    expect(rig.told(other)).toBeUndefined();
    rig.run(limits.probeBackoffMaxMs, ['near', 'middle']);
    expect(rig.record(other).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
  });
});

describe('a divergence without a majority', () => {
  /** A rig of two regions that have just said different things about a write to `a`. */
  function torn() {
    const rig = calm({ regions: ['near', 'far'] });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    vote(rig, { near: 1, far: 2 });
    return { rig, ticket };
  }

  const repair = {
    kind: 'repair',
    source: 'near',
    keys: [{ key: 'a', regions: ['far'] }],
  } as const;

  it('refuses the write and every later one to the key, by name, and puts nobody out', () => {
    const { rig, ticket } = torn();
    const refusal = { kind: 'unavailable', code: 'diverged' };
    expect(rig.told(ticket)).toMatchObject(refusal);
    const later = rig.arrive(frameOf(['b', 'a'], lasting));
    expect(rig.told(later)).toMatchObject(refusal);
    expect(rig.core.status().regions.map(({ state, cause }) => [state, cause])).toEqual([
      ['voter', null],
      ['voter', null],
    ]);
  });

  it('stores the key as blocked before anybody is told, with an entry for every voter', () => {
    const { rig } = torn();
    const detail = expect.stringContaining('different results');
    expect(rig.last.persist).toContainEqual({ kind: 'block', keys: [{ key: 'a', detail }] });
    expect(rig.changes.map(({ region, event }) => [region, event])).toEqual([
      ['near', 'diverged'],
      ['far', 'diverged'],
    ]);
    expect(rig.core.inDoubt().blocked).toEqual([{ key: 'a', detail }]);
  });

  it('leaves other keys alone', () => {
    const { rig } = torn();
    const ticket = rig.arrive(frameOf(['b'], lasting));
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('gives up what waits for the key', () => {
    const rig = calm({ regions: ['near', 'far'] });
    rig.arrive(frameOf(['a'], lasting));
    const waiting = rig.arrive(frameOf(['a', 'c'], lasting));
    vote(rig, { near: 1, far: 2 });
    expect(rig.told(waiting)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
    expect(rig.core.status().queued).toBe(0);
  });

  it('is still refused after a restart', () => {
    const rig = torn().rig.restarted();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
  });

  it('ends when an operator names a source: the others leave, get the key, and vote again', () => {
    const { rig } = torn();
    expect(rig.order(repair).kind).toBe('taken');
    expect(rig.last.persist).toContainEqual({ kind: 'unblock', keys: ['a'] });
    rig.run(2 * limits.copyPauseMs);
    const written = rig.rounds.flatMap(({ region, round }) =>
      round.copy?.kind === 'write' ? [[region, ...round.copy.data]] : [],
    );
    expect(written).toEqual([['far', 'data of a']]);
    expect(rig.statusOf('far').state).toBe('voter');
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.settle();
    expect(rig.record(ticket).votes).toHaveLength(2);
  });
});
