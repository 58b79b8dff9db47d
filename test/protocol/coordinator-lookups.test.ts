import { describe, expect, it } from 'vitest';
import { encodeReply } from '../../shared/contracts/reply.ts';
import type { SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { SentSnapshot } from '../../shared/protocol/io/events.ts';
import { command } from '../region/fixtures.ts';
import { frameOf, Rig, timing } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const silent: SnapshotResult = { kind: 'silent', reason: 'connection refused' };

/** A snapshot that met these locks. */
function readOf(...holders: readonly (readonly [number, number])[]): SnapshotResult {
  const locks = holders.map((holder) => ({ key: 'a', holder }));
  return { kind: 'read', replies: ['1'], locks };
}

/** A greeted rig whose regions are 10, 20 and 30 ms away. */
function spread(): Rig {
  const rig = Rig.greeted();
  rig.arrive(frameOf(['a']));
  for (const region of ['near', 'middle', 'far']) {
    rig.advance(10);
    rig.executeAll([region]);
  }
  rig.settle();
  return rig;
}

/** The only snapshot on its way. */
function only(rig: Rig): SentSnapshot {
  const [lookup, ...more] = rig.lookups;
  if (lookup === undefined || more.length > 0) throw new Error('one snapshot is on its way');
  return lookup;
}

// R40: the snapshot comes after the question, and the proof after the snapshot.
describe('a read through the coordinator', () => {
  it('is taken at once in the voter that answers fastest, with the loss check and without a lease', () => {
    const rig = spread();
    const commands = [command(['GET', 'a'])];
    rig.read({ keys: ['a'], commands });
    const { region, request, timeoutMs } = only(rig);
    expect(region).toBe('near');
    expect(timeoutMs).toBe(timing.roundTimeoutMs);
    const seen = rig.tables.regions.get('near')?.pair;
    expect(seen).not.toBeNull();
    expect(request).toEqual({
      shard: 0,
      generation: 7,
      strong: true,
      leased: false,
      seen: [2, expect.any(String)],
      settle: [],
      keys: ['a'],
      commands,
    });
  });

  it('is taken in the region that is asked for', () => {
    const rig = spread();
    rig.read({ region: 'far' });
    expect(only(rig).region).toBe('far');
  });

  it('is taken elsewhere for a while once a region has let another read wait', () => {
    const rig = spread();
    rig.read();
    rig.look(only(rig), silent);
    rig.look(only(rig), readOf());
    rig.advance(limits.silentRegionAvoidedMs - 1);
    rig.read();
    expect(only(rig).region).toBe('middle');
    rig.look(only(rig), readOf());
    rig.advance(1);
    rig.read();
    expect(only(rig).region).toBe('near');
  });

  it('is answered in a step that proves the instance, and not before the snapshot has come', () => {
    const rig = spread();
    const ticket = rig.read();
    expect(rig.toldRead(ticket)).toBeUndefined();
    expect(rig.last.persist).toEqual([]);
    rig.look(only(rig), readOf());
    expect(rig.toldRead(ticket)).toEqual({
      kind: 'read',
      replies: encodeReply(['1']),
      region: 'near',
    });
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('is answered by the old values where every lock is pending or aborted', () => {
    const rig = spread();
    rig.arrive(frameOf(['a'], lasting));
    const ticket = rig.read();
    rig.look(only(rig), readOf([3, 2], [2, 9]));
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read', replies: encodeReply(['1']) });
  });

  it('has committed locks settled by the next snapshot, and is answered by that', () => {
    const rig = spread();
    const ticket = rig.read();
    const recorded = [{ transaction: [3, 7] as const, keys: ['a', 'b'] }];
    rig.look(only(rig), readOf([3, 7], [2, 9]), recorded);
    expect(rig.toldRead(ticket)).toBeUndefined();
    expect(only(rig).request.settle).toEqual([
      { transaction: [3, 7], outcome: 'commit', keys: ['a', 'b'] },
    ]);
    rig.look(only(rig), readOf());
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read' });
  });

  it('goes to the next voter where one does not answer, or has no state to read', () => {
    const rig = spread();
    const ticket = rig.read();
    rig.look(only(rig), silent);
    expect(only(rig).region).toBe('middle');
    rig.look(only(rig), { kind: 'refused', refusal: { kind: 'lost' } });
    expect(only(rig).region).toBe('far');
    rig.look(only(rig), readOf());
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read', region: 'far' });
  });

  it('goes to the next voter where one holds a lock of a transaction that nobody remembers', () => {
    const rig = spread();
    const ticket = rig.read();
    rig.look(only(rig), readOf([2, 9]), [], [2, 9]);
    expect(only(rig).region).toBe('middle');
    expect(rig.toldRead(ticket)).toBeUndefined();
  });

  it.each([
    ['a read', ['GET', 'a'], 0, ['near', 'middle']],
    ['a read that the edge has sent once', ['GET', 'a'], 1, ['near']],
    ['a script', ['EVAL_RO', 'sha', 'return 1', '0'], 0, ['near']],
  ])(
    'is sent to no more regions where it is not answered: %s',
    (_name, args, unanswered, regions) => {
      const rig = spread();
      const ticket = rig.read({ commands: [command(args)], unanswered });
      for (const region of regions) {
        expect(rig.toldRead(ticket)).toBeUndefined();
        expect(only(rig).region).toBe(region);
        rig.look(only(rig), { kind: 'silent', reason: 'no answer in time', isUnanswered: true });
      }
      expect(rig.lookups).toEqual([]);
      const faults = regions.map((region) => ({ region, reason: 'no answer in time' }));
      expect(rig.toldRead(ticket)).toEqual({ kind: 'unavailable', faults, isUnanswered: true });
      rig.advance(limits.timeoutMsDefault);
      expect(rig.lookups).toEqual([]);
    },
  );

  it('of a script goes on where a region has refused it, and so has not run it', () => {
    const rig = spread();
    const ticket = rig.read({ commands: [command(['EVAL_RO', 'sha', 'return 1', '0'])] });
    rig.look(only(rig), silent);
    rig.look(only(rig), readOf());
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read', region: 'middle' });
  });

  it('is given up where each voter has failed it too often, with what each of them said', () => {
    const rig = spread();
    const ticket = rig.read();
    for (let look = 0; look < 3 * limits.readFailuresPerRegion; look++) {
      rig.look(only(rig), silent);
    }
    const reason = 'connection refused';
    expect(rig.toldRead(ticket)).toEqual({
      kind: 'unavailable',
      faults: [
        { region: 'near', reason },
        { region: 'middle', reason },
        { region: 'far', reason },
      ],
    });
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('is given up at once where the region that is asked for does not vote', () => {
    const regions = [voterOf('near'), outOf('far')];
    const rig = Rig.greeted({ regions: ['near', 'far'], stored: { regions } });
    const ticket = rig.read({ region: 'far' });
    expect(rig.toldRead(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: 'connection refused' }],
    });
  });

  it('does not go to a voter that has lost writes, or is silent', () => {
    const rig = spread();
    rig.arrive(frameOf(['b'], lasting));
    rig.end(rig.flight('near'), { kind: 'refused', refusal: { kind: 'lost' } });
    for (const send of rig.flightsTo('middle')) rig.silence(send);
    rig.read();
    expect(only(rig).region).toBe('far');
  });

  it('is not answered by what came from a region that was put out meanwhile', () => {
    const rig = spread();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = rig.read({ region: 'far' });
    rig.order({ kind: 'put-out', region: 'far', reason: 'for repairs' });
    rig.run(20);
    expect(rig.statusOf('far').state).toBe('out');
    rig.look(only(rig), readOf());
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'unavailable' });
  });

  it('is not answered by what came from a region that has left and returned meanwhile', () => {
    const rig = spread();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    const ticket = rig.read();
    const look = only(rig);
    expect(look.region).toBe('near');
    rig.order({ kind: 'repair', source: 'far', keys: [{ key: 'a', regions: ['near'] }] });
    rig.run(limits.copyPauseMs);
    expect(rig.changes.map(({ event }) => event)).toContain('returned');
    rig.look(look, readOf());
    expect(rig.toldRead(ticket)).toBeUndefined();
    expect(only(rig).region).not.toBe('near');
  });
});

describe('the number of reads through the coordinator', () => {
  it('that are on their way is bounded; the others follow as these end', () => {
    const rig = spread();
    const tickets = Array.from({ length: limits.readsInFlight + 1 }, () => rig.read());
    expect(rig.lookups).toHaveLength(limits.readsInFlight);
    for (const look of rig.lookups) rig.look(look, readOf());
    expect(rig.lookups).toHaveLength(1);
    for (const look of rig.lookups) rig.look(look, readOf());
    for (const ticket of tickets) expect(rig.toldRead(ticket)?.kind).toBe('read');
  });

  it('that wait is bounded; one more is told so', () => {
    const rig = spread();
    for (let read = 0; read < limits.readsInFlight + limits.readsQueued; read++) rig.read();
    const ticket = rig.read();
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(rig.toldRead(ticket))).toContain('too many reads');
  });

  it('leaves no read without an answer: one that has waited too long is given up', () => {
    const rig = spread();
    const tickets = Array.from({ length: limits.readsInFlight + 1 }, () => rig.read());
    const last = tickets.at(-1) ?? 0;
    rig.advance(limits.timeoutMsDefault - 1);
    expect(rig.toldRead(last)).toBeUndefined();
    rig.advance(1);
    expect(rig.toldRead(last)?.kind).toBe('unavailable');
  });

  it('of attempts is bounded if each meets a lock that was committed', () => {
    const rig = spread();
    const ticket = rig.read({ keys: ['a', 'b'] });
    for (let look = 1; look <= limits.readAttempts; look++) {
      const recorded = [{ transaction: [2, look] as const, keys: ['a'] }];
      rig.look(only(rig), readOf([2, look]), recorded);
    }
    expect(rig.lookups).toEqual([]);
    // The regions are well: what keeps the read from its answer are writes, and a client is told so.
    const contendedIn = expect.any(String);
    expect(rig.toldRead(ticket)).toEqual({ kind: 'unavailable', faults: [], contendedIn });
  });

  it('of attempts is two for one key, however often that is written', () => {
    const rig = spread();
    const ticket = rig.read();
    const recorded = (sequence: number) => [{ transaction: [2, sequence] as const, keys: ['a'] }];
    rig.look(only(rig), readOf([2, 1]), recorded(1));
    expect(rig.toldRead(ticket)).toBeUndefined();
    rig.look(only(rig), readOf([2, 2]), recorded(2));
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read' });
  });

  it('of attempts is more for one key if the lock was not settled, or another region answers', () => {
    const rig = spread();
    const ticket = rig.read();
    const recorded = (sequence: number) => [{ transaction: [2, sequence] as const, keys: ['a'] }];
    rig.look(only(rig), readOf([2, 1]), recorded(1));
    rig.look(only(rig), readOf([2, 1]), recorded(1));
    expect(rig.toldRead(ticket)).toBeUndefined();
    rig.look(only(rig), { kind: 'silent', reason: 'cut' }, []);
    rig.look(only(rig), readOf([2, 2]), recorded(2));
    expect(rig.toldRead(ticket)).toBeUndefined();
    rig.look(only(rig), readOf([2, 3]), recorded(3));
    expect(rig.toldRead(ticket)).toMatchObject({ kind: 'read' });
  });

  it('takes connections from rounds, and never more than there are', () => {
    const rig = Rig.greeted({ connections: 3 });
    rig.read();
    rig.read();
    rig.arrive(frameOf(['a'], lasting));
    expect(rig.flights).toHaveLength(1);
    for (const look of rig.lookups) rig.look(look, readOf());
    expect(rig.flights).toHaveLength(3);
  });

  it('that are on their way keeps the instance busy', () => {
    const rig = spread();
    rig.read();
    expect(rig.core.busy).toBe(true);
    rig.look(only(rig), readOf());
    expect(rig.core.busy).toBe(false);
  });
});
