import { describe, expect, it } from 'vitest';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentSnapshot } from '../../shared/protocol/io/ready.ts';
import { command } from '../region/fixtures.ts';
import { CoreHarness, frameOf, timing } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const silent: SnapshotResult = { kind: 'silent', reason: 'connection refused' };

/** A snapshot that met these locks. */
function readOf(...holders: readonly (readonly [number, number])[]): SnapshotResult {
  const locks = holders.map((holder) => ({ key: 'a', holder }));
  return { kind: 'read', replies: ['1'], locks };
}

/** A harness that has begun whose regions are 10, 20 and 30 ms away. */
function spread(): CoreHarness {
  const harness = CoreHarness.begun();
  harness.arrive(frameOf(['a']));
  for (const region of ['near', 'middle', 'far']) {
    harness.advance(10);
    harness.executeAll([region]);
  }
  harness.settle();
  return harness;
}

/** The only snapshot on its way. */
function only(harness: CoreHarness): SentSnapshot {
  const [lookup, ...more] = harness.snapshots;
  if (lookup === undefined || more.length > 0) throw new Error('one snapshot is on its way');
  return lookup;
}

// R40: the snapshot comes after the question, and the proof after the snapshot.
describe('a read through the coordinator', () => {
  it('goes at once to the voter that answers fastest, with the loss check and without a lease', () => {
    const harness = spread();
    const commands = [command(['GET', 'a'])];
    harness.read({ keys: ['a'], commands });
    const { region, request, timeoutMs } = only(harness);
    expect(region).toBe('near');
    expect(timeoutMs).toBe(timing.roundTimeoutMs);
    const seen = harness.tables.regions.get('near')?.pair;
    expect(seen).not.toBeNull();
    expect(request).toEqual({
      shard: 0,
      generation: 7,
      strong: true,
      leased: false,
      lastAcknowledged: [2, expect.any(String)],
      settle: [],
      keys: ['a'],
      commands,
    });
  });

  it('goes to the requested region', () => {
    const harness = spread();
    harness.read({ region: 'far' });
    expect(only(harness).region).toBe('far');
  });

  it('goes to another region for a while after one has let a read wait', () => {
    const harness = spread();
    harness.read();
    harness.endSnapshot(only(harness), silent);
    harness.endSnapshot(only(harness), readOf());
    harness.advance(limits.silentRegionAvoidedMs - 1);
    harness.read();
    expect(only(harness).region).toBe('middle');
    harness.endSnapshot(only(harness), readOf());
    harness.advance(1);
    harness.read();
    expect(only(harness).region).toBe('near');
  });

  it('is answered in a step that proves ownership, and not before the snapshot has come', () => {
    const harness = spread();
    const ticket = harness.read();
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    expect(harness.last.persist).toEqual([]);
    harness.endSnapshot(only(harness), readOf());
    expect(harness.readAnswerTo(ticket)).toEqual({
      kind: 'read',
      replies: encodeReply(['1']),
      region: 'near',
    });
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('is answered by the old values if every lock is pending or aborted', () => {
    const harness = spread();
    harness.arrive(frameOf(['a'], lasting));
    const ticket = harness.read();
    harness.endSnapshot(only(harness), readOf([3, 2], [2, 9]));
    expect(harness.readAnswerTo(ticket)).toMatchObject({
      kind: 'read',
      replies: encodeReply(['1']),
    });
  });

  it('settles committed locks by the next snapshot, and is answered by that', () => {
    const harness = spread();
    const ticket = harness.read();
    const recorded = [{ transaction: [3, 7] as const, keys: ['a', 'b'] }];
    harness.endSnapshot(only(harness), readOf([3, 7], [2, 9]), recorded);
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    expect(only(harness).request.settle).toEqual([
      { transaction: [3, 7], outcome: 'commit', keys: ['a', 'b'] },
    ]);
    harness.endSnapshot(only(harness), readOf());
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'read' });
  });

  it('goes to the next voter if one does not answer, or has no state to read', () => {
    const harness = spread();
    const ticket = harness.read();
    harness.endSnapshot(only(harness), silent);
    expect(only(harness).region).toBe('middle');
    harness.endSnapshot(only(harness), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(only(harness).region).toBe('far');
    harness.endSnapshot(only(harness), readOf());
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'read', region: 'far' });
  });

  it('leaves a voter that has a lock of a forgotten transaction for the next one', () => {
    const harness = spread();
    const ticket = harness.read();
    harness.endSnapshot(only(harness), readOf([2, 9]), [], [2, 9]);
    expect(only(harness).region).toBe('middle');
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
  });

  it.each([
    ['a read', ['GET', 'a'], 0, ['near', 'middle']],
    ['a read that the edge has sent once', ['GET', 'a'], 1, ['near']],
    ['a script', ['EVAL_RO', 'sha', 'return 1', '0'], 0, ['near']],
  ])('is sent to no more regions if it is not answered: %s', (_name, args, unanswered, regions) => {
    const harness = spread();
    const ticket = harness.read({ commands: [command(args)], unanswered });
    for (const region of regions) {
      expect(harness.readAnswerTo(ticket)).toBeUndefined();
      expect(only(harness).region).toBe(region);
      harness.endSnapshot(only(harness), {
        kind: 'silent',
        reason: 'no answer in time',
        isUnanswered: true,
      });
    }
    expect(harness.snapshots).toEqual([]);
    const faults = regions.map((region) => ({ region, reason: 'no answer in time' }));
    expect(harness.readAnswerTo(ticket)).toEqual({
      kind: 'unavailable',
      faults,
      isUnanswered: true,
    });
    harness.advance(limits.timeoutMsDefault);
    expect(harness.snapshots).toEqual([]);
  });

  it('of a script continues if a region has refused the script, and so has not run it', () => {
    const harness = spread();
    const ticket = harness.read({ commands: [command(['EVAL_RO', 'sha', 'return 1', '0'])] });
    harness.endSnapshot(only(harness), silent);
    harness.endSnapshot(only(harness), readOf());
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'read', region: 'middle' });
  });

  it('is given up if each voter has failed it too often, with the failure of each', () => {
    const harness = spread();
    const ticket = harness.read();
    for (let look = 0; look < 3 * limits.readFailuresPerRegion; look++) {
      harness.endSnapshot(only(harness), silent);
    }
    const reason = 'connection refused';
    expect(harness.readAnswerTo(ticket)).toEqual({
      kind: 'unavailable',
      faults: [
        { region: 'near', reason },
        { region: 'middle', reason },
        { region: 'far', reason },
      ],
    });
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('is given up at once if the requested region does not vote', () => {
    const regions = [voterOf('near'), outOf('far')];
    const harness = CoreHarness.begun({ regions: ['near', 'far'], stored: { regions } });
    const ticket = harness.read({ region: 'far' });
    expect(harness.readAnswerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: 'connection refused' }],
    });
  });

  it('does not go to a voter that has lost writes, or is silent', () => {
    const harness = spread();
    harness.arrive(frameOf(['b'], lasting));
    harness.end(harness.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    for (const send of harness.flightsTo('middle')) harness.silence(send);
    harness.read();
    expect(only(harness).region).toBe('far');
  });

  it('ignores the answer of a region that was evicted meanwhile', () => {
    const harness = spread();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = harness.read({ region: 'far' });
    harness.command({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    harness.run(20);
    expect(harness.statusOf('far').state).toBe('out');
    harness.endSnapshot(only(harness), readOf());
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'unavailable' });
  });

  it('ignores the answer of a region that has left and returned meanwhile', () => {
    const harness = spread();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = harness.read();
    const look = only(harness);
    expect(look.region).toBe('near');
    harness.command({ kind: 'repair', source: 'far', keys: [{ key: 'a', regions: ['near'] }] });
    harness.run(limits.copyPauseMs);
    expect(harness.changes.map(({ event }) => event)).toContain('returned');
    harness.endSnapshot(look, readOf());
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    expect(only(harness).region).not.toBe('near');
  });
});

describe('the number of reads through the coordinator', () => {
  it('that are on their way is bounded; the others follow as these end', () => {
    const harness = spread();
    const tickets = Array.from({ length: limits.readsInFlight + 1 }, () => harness.read());
    expect(harness.snapshots).toHaveLength(limits.readsInFlight);
    for (const look of harness.snapshots) harness.endSnapshot(look, readOf());
    expect(harness.snapshots).toHaveLength(1);
    for (const look of harness.snapshots) harness.endSnapshot(look, readOf());
    for (const ticket of tickets) expect(harness.readAnswerTo(ticket)?.kind).toBe('read');
  });

  it('that wait is bounded, and one more is refused', () => {
    const harness = spread();
    for (let read = 0; read < limits.readsInFlight + limits.readsQueued; read++) harness.read();
    const ticket = harness.read();
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(harness.readAnswerTo(ticket))).toContain('too many reads');
  });

  it('leaves no read without an answer: one that has waited too long is given up', () => {
    const harness = spread();
    const tickets = Array.from({ length: limits.readsInFlight + 1 }, () => harness.read());
    const last = tickets.at(-1) ?? 0;
    harness.advance(limits.timeoutMsDefault - 1);
    expect(harness.readAnswerTo(last)).toBeUndefined();
    harness.advance(1);
    expect(harness.readAnswerTo(last)?.kind).toBe('unavailable');
  });

  it('of attempts is bounded if each meets a lock that was committed', () => {
    const harness = spread();
    const ticket = harness.read({ keys: ['a', 'b'] });
    for (let look = 1; look <= limits.readAttempts; look++) {
      const recorded = [{ transaction: [2, look] as const, keys: ['a'] }];
      harness.endSnapshot(only(harness), readOf([2, look]), recorded);
    }
    expect(harness.snapshots).toEqual([]);
    // The regions are healthy: writes delay the read, and the client's answer says so.
    const contendedIn = expect.any(String);
    expect(harness.readAnswerTo(ticket)).toEqual({ kind: 'unavailable', faults: [], contendedIn });
  });

  it('of attempts is two for one key, however often that is written', () => {
    const harness = spread();
    const ticket = harness.read();
    const recorded = (sequence: number) => [{ transaction: [2, sequence] as const, keys: ['a'] }];
    harness.endSnapshot(only(harness), readOf([2, 1]), recorded(1));
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    harness.endSnapshot(only(harness), readOf([2, 2]), recorded(2));
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'read' });
  });

  it('of attempts is higher for one key if the lock was not settled, or another region answers', () => {
    const harness = spread();
    const ticket = harness.read();
    const recorded = (sequence: number) => [{ transaction: [2, sequence] as const, keys: ['a'] }];
    harness.endSnapshot(only(harness), readOf([2, 1]), recorded(1));
    harness.endSnapshot(only(harness), readOf([2, 1]), recorded(1));
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    harness.endSnapshot(only(harness), { kind: 'silent', reason: 'cut' }, []);
    harness.endSnapshot(only(harness), readOf([2, 2]), recorded(2));
    expect(harness.readAnswerTo(ticket)).toBeUndefined();
    harness.endSnapshot(only(harness), readOf([2, 3]), recorded(3));
    expect(harness.readAnswerTo(ticket)).toMatchObject({ kind: 'read' });
  });

  it('takes connections from rounds, and stays within their limit', () => {
    const harness = CoreHarness.begun({ connections: 3 });
    harness.read();
    harness.read();
    harness.arrive(frameOf(['a'], lasting));
    expect(harness.flights).toHaveLength(1);
    for (const look of harness.snapshots) harness.endSnapshot(look, readOf());
    expect(harness.flights).toHaveLength(3);
  });

  it('that are on their way keeps the instance busy', () => {
    const harness = spread();
    harness.read();
    expect(harness.core.busy).toBe(true);
    harness.endSnapshot(only(harness), readOf());
    expect(harness.core.busy).toBe(false);
  });
});
