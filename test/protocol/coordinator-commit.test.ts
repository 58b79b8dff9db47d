import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { partOfJson } from '../region/replies.ts';
import { frameOf, Rig, start } from './core-harness.ts';
import { yes } from './replies.ts';

describe('a commit', () => {
  // R1: the record is in the same Ready as the answer; the shell stores it before it answers.
  it('is stored by the very step that answers and sends it, and nothing leaves before', () => {
    const rig = Rig.greeted();
    const before = rig.steps.length;
    const ticket = rig.arrive(frameOf(['a']));
    rig.executeAll(['near', 'middle']);
    const undecided = rig.steps.slice(before);
    expect(undecided.flatMap((step) => step.persist)).toEqual([]);
    expect(undecided.flatMap((step) => step.replies)).toEqual([]);
    rig.executeAll(['far']);
    expect(rig.last.persist).toContainEqual(
      expect.objectContaining({ kind: 'commit', transaction: [3, 1], keys: ['a'], sequence: 1 }),
    );
    expect(rig.last.replies).toHaveLength(1);
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', transaction: '0.3.1' });
    for (const send of rig.sent) {
      expect(send.round.decisions).toEqual([
        { transaction: [3, 1], outcome: 'commit', keys: ['a'] },
      ]);
    }
  });

  it('needs one round to each region, all sent at once', () => {
    const rig = Rig.greeted();
    const { now } = rig;
    const ticket = rig.arrive(frameOf(['a']));
    expect(rig.last.sends.map(({ region }) => region).sort()).toEqual(['far', 'middle', 'near']);
    rig.now += 70;
    rig.executeAll();
    expect(rig.record(ticket)).toMatchObject({ attempts: 1, ms: 70, decidedAt: now + 70 });
  });

  it('tells how each region voted, and how long that took', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    for (const region of ['near', 'middle', 'far']) {
      rig.now += 5;
      rig.executeAll([region]);
    }
    expect(rig.record(ticket).votes).toEqual([
      { region: 'near', vote: 'yes', ms: 5, reason: null },
      { region: 'middle', vote: 'yes', ms: 10, reason: null },
      { region: 'far', vote: 'yes', ms: 15, reason: null },
    ]);
  });

  it('counts committed writes from where storage left off, without gaps', () => {
    const rig = Rig.greeted({ stored: { sequence: 41 } });
    const first = rig.arrive(frameOf(['a']));
    const second = rig.arrive(frameOf(['b']));
    rig.executeAll();
    expect([first, second].map((ticket) => rig.record(ticket).sequence)).toEqual([42, 43]);
  });

  it('is confirmed, and stored as such, once every region has acknowledged it', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    rig.executeAll();
    const record = rig.record(ticket);
    expect(rig.core.appliedIn(record)).toEqual([]);
    rig.executeAll(['near', 'far']);
    expect(rig.core.appliedIn(record)).toEqual(['near', 'far']);
    expect(rig.core.busy).toBe(true);
    rig.executeAll(['middle']);
    expect(rig.last.persist).toContainEqual({
      kind: 'confirm',
      transactions: [[3, 1]],
      now: rig.now,
    });
    expect(rig.core.appliedIn(record)).toBeNull();
    expect(rig.core.busy).toBe(false);
  });
});

// R3: only commits are recorded; what has no record is aborted.
describe('a transaction that a reader asks about', () => {
  const committed = { transaction: [2, 8], keys: ['a', 'b'] } as const;

  it('is aborted where an earlier life left no record of it', () => {
    expect(Rig.greeted().ask([[2, 7]])).toEqual([{ kind: 'aborted', transaction: [2, 7] }]);
  });

  it('is committed, with its keys, where an earlier life recorded it', () => {
    const resolutions = Rig.greeted().ask([[2, 7], committed.transaction], [committed]);
    expect(resolutions).toEqual([
      { kind: 'aborted', transaction: [2, 7] },
      { kind: 'committed', ...committed },
    ]);
  });

  it('is pending while it is undecided here, and no longer once it is aborted', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], { notAfter: start + 100 }));
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'pending', transaction: [3, 1] }]);
    rig.advance(100);
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
  });

  it('is forgotten at and below the horizon of the kept records, and aborted above it', () => {
    const resolutions = Rig.greeted().ask(
      [
        [2, 5],
        [2, 6],
        [2, 7],
      ],
      [],
      [2, 6],
    );
    expect(resolutions?.map(({ kind }) => kind)).toEqual(['forgotten', 'forgotten', 'aborted']);
  });

  it('is committed below the horizon too, where its record is still kept', () => {
    const resolutions = Rig.greeted().ask([committed.transaction], [committed], [2, 9]);
    expect(resolutions).toEqual([{ kind: 'committed', ...committed }]);
  });
});

// R17: only a storage write tells a stale instance that it is stale.
describe('the proof of ownership', () => {
  it('goes with the answer to a question, in the same step', () => {
    const rig = Rig.greeted();
    rig.ask([[2, 7]]);
    expect(rig.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('goes with the answer that nothing was written', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], { notAfter: start }));
    expect(rig.last.replies).toHaveLength(1);
    // The clock by which it came too late is the proof.
    expect(rig.last.persist).toEqual([{ kind: 'clock', now: rig.now }]);
  });

  it('is not needed to say that a frame was taken in', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']), { async: true });
    expect(rig.told(ticket)?.kind).toBe('accepted');
    expect(rig.last.persist).toEqual([]);
  });

  it('makes the instance end itself when it is asked about a later incarnation', () => {
    const rig = Rig.greeted();
    expect(rig.ask([[4, 1]])).toBeNull();
    expect(rig.last.ended).toContain('4.1');
    expect(rig.last.sends).toEqual([]);
  });

  it.each(['epoch', 'incarnation'] as const)(
    'makes the instance end itself when a region has seen a later %s',
    (by) => {
      const rig = Rig.greeted();
      const ticket = rig.arrive(frameOf(['a']));
      rig.execute(rig.flight('near'), { votes: [{ kind: 'fenced', by }] });
      expect(rig.last.ended).toContain(`near has seen a later ${by}`);
      expect(rig.told(ticket)).toBeUndefined();
    },
  );

  it('leaves an instance that has ended without a further step', () => {
    const rig = Rig.greeted();
    rig.ask([[4, 1]]);
    expect(() => rig.tick()).toThrow('an instance that has ended takes no events');
  });
});

// R6: a failed check is an observation, recorded before it is told.
describe('a failed check', () => {
  const failed = '[1,0,null]';

  it('is recorded under its key in the step that tells it, once every region reported the same', () => {
    const rig = Rig.greeted();
    const idempotency = { key: 'once', digest: 'd' };
    const frame = frameOf(['a'], { idempotency });
    const ticket = rig.arrive(frame);
    const votes = [yes(['absent'], failed)];
    for (const send of rig.flights.slice(1)) rig.execute(send, { votes });
    expect(rig.told(ticket)).toBeUndefined();
    for (const send of rig.flights) rig.execute(send, { votes });
    const record = rig.record(ticket);
    expect(record).toMatchObject({ outcome: 'rejected', sequence: null, part: partOfJson(failed) });
    expect(rig.last.persist).toContainEqual(
      expect.objectContaining({
        kind: 'reject',
        writes: [expect.objectContaining({ record, idempotency })],
      }),
    );
  });

  it('drops its locks by an abort, and leaves the sequence as it was', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    for (const send of rig.flights) rig.execute(send, { votes: [yes(['absent'], failed)] });
    rig.advance(limits.commitLingerMs);
    for (const region of rig.regions) {
      expect(rig.deciding(region)).toEqual([
        { transaction: [3, 1], outcome: 'abort', keys: ['a'] },
      ]);
    }
    expect(rig.core.status().sequence).toBe(0);
  });

  it('stands beside the committed parts of its transaction', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const [first, second] = [rig.arrive(frameOf(['a'])), rig.arrive(frameOf(['a']))];
    rig.executeAll();
    const votes = [yes([''], failed, '[0,1]')];
    for (const send of rig.flights.filter(({ round }) => round.prepares.length > 0)) {
      rig.execute(send, { votes });
    }
    expect(rig.record(first)).toMatchObject({ outcome: 'rejected', sequence: null });
    expect(rig.record(second)).toMatchObject({ outcome: 'committed', sequence: 2 });
  });
});
