import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { partOfJson } from '../region/replies.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';
import { yes } from './replies.ts';

describe('a commit', () => {
  // R1: the record is in the same Ready as the answer; the shell stores it before it answers.
  it('is stored by the same step that answers and sends it, and nothing is sent before', () => {
    const harness = CoreHarness.begun();
    const before = harness.steps.length;
    const ticket = harness.arrive(frameOf(['a']));
    harness.executeAll(['near', 'middle']);
    const undecided = harness.steps.slice(before);
    expect(undecided.flatMap((step) => step.persist)).toEqual([]);
    expect(undecided.flatMap((step) => step.replies)).toEqual([]);
    harness.executeAll(['far']);
    expect(harness.last.persist).toContainEqual(
      expect.objectContaining({ kind: 'commit', transaction: [3, 1], keys: ['a'], sequence: 1 }),
    );
    expect(harness.last.replies).toHaveLength(1);
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', transaction: '0.3.1' });
    for (const send of harness.sent) {
      expect(send.round.decisions).toEqual([
        { transaction: [3, 1], outcome: 'commit', keys: ['a'] },
      ]);
    }
  });

  it('needs one round per region, all sent at once', () => {
    const harness = CoreHarness.begun();
    const { now } = harness;
    const ticket = harness.arrive(frameOf(['a']));
    expect(harness.last.sends.map(({ region }) => region).sort()).toEqual([
      'far',
      'middle',
      'near',
    ]);
    harness.now += 70;
    harness.executeAll();
    expect(harness.record(ticket)).toMatchObject({ attempts: 1, ms: 70, decidedAt: now + 70 });
  });

  it('reports how each region voted, and how long that took', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    for (const region of ['near', 'middle', 'far']) {
      harness.now += 5;
      harness.executeAll([region]);
    }
    expect(harness.record(ticket).votes).toEqual([
      { region: 'near', vote: 'yes', ms: 5, reason: null },
      { region: 'middle', vote: 'yes', ms: 10, reason: null },
      { region: 'far', vote: 'yes', ms: 15, reason: null },
    ]);
  });

  it('continues the count of committed writes from the stored number, without gaps', () => {
    const harness = CoreHarness.begun({ stored: { sequence: 41 } });
    const first = harness.arrive(frameOf(['a']));
    const second = harness.arrive(frameOf(['b']));
    harness.executeAll();
    expect([first, second].map((ticket) => harness.record(ticket).sequence)).toEqual([42, 43]);
  });

  it('is confirmed, and stored as confirmed, once every region has acknowledged it', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    harness.executeAll();
    const record = harness.record(ticket);
    expect(harness.core.appliedIn(record)).toEqual([]);
    harness.executeAll(['near', 'far']);
    expect(harness.core.appliedIn(record)).toEqual(['near', 'far']);
    expect(harness.core.busy).toBe(true);
    harness.executeAll(['middle']);
    expect(harness.last.persist).toContainEqual({
      kind: 'confirm',
      transactions: [[3, 1]],
      now: harness.now,
    });
    expect(harness.core.appliedIn(record)).toBeNull();
    expect(harness.core.busy).toBe(false);
  });

  // R16: with the pairs of before, a region that goes back to before the commit would seem to have lost nothing.
  it('is stored as confirmed together with the pairs of the rounds that acknowledged it', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    const pairs = () =>
      harness.last.persist.flatMap((write) =>
        write.kind === 'region'
          ? [[write.region.region, write.region.pair?.[0] ?? 0] as const]
          : [],
      );
    const decided = new Map(pairs());
    harness.executeAll();
    expect(harness.last.persist.map(({ kind }) => kind)).toContain('confirm');
    const confirmed = new Map(pairs());
    expect([...confirmed.keys()].toSorted()).toEqual(['far', 'middle', 'near']);
    for (const [region, counter] of confirmed) {
      expect(counter).toBeGreaterThan(decided.get(region) ?? 0);
    }
  });
});

// R3: only commits are recorded; a transaction without a record is aborted.
describe('a transaction that a reader asks about', () => {
  const committed = { transaction: [2, 8], keys: ['a', 'b'] } as const;

  it('is aborted if an earlier instance left no record of it', () => {
    expect(CoreHarness.begun().resolve([[2, 7]])).toEqual([
      { kind: 'aborted', transaction: [2, 7] },
    ]);
  });

  it('is committed, with its keys, if an earlier instance recorded it', () => {
    const resolutions = CoreHarness.begun().resolve([[2, 7], committed.transaction], [committed]);
    expect(resolutions).toEqual([
      { kind: 'aborted', transaction: [2, 7] },
      { kind: 'committed', ...committed },
    ]);
  });

  it('is pending until it is decided, and aborted afterwards if it failed', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], { notAfter: start + 100 }));
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'pending', transaction: [3, 1] }]);
    harness.advance(100);
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
  });

  it('is forgotten at and below the horizon of the kept records, and aborted above it', () => {
    const resolutions = CoreHarness.begun().resolve(
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

  it('is committed below the horizon too, if its record is still kept', () => {
    const resolutions = CoreHarness.begun().resolve([committed.transaction], [committed], [2, 9]);
    expect(resolutions).toEqual([{ kind: 'committed', ...committed }]);
  });
});

// R17: only a storage write shows a stale instance that it is stale.
describe('the proof of ownership', () => {
  it('goes with the answer to a reader, in the same step', () => {
    const harness = CoreHarness.begun();
    harness.resolve([[2, 7]]);
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
  });

  it('goes with the answer that nothing was written', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], { notAfter: start }));
    expect(harness.last.replies).toHaveLength(1);
    // The clock by which it came too late is the proof.
    expect(harness.last.persist).toEqual([{ kind: 'clock', now: harness.now }]);
  });

  it('is not needed to acknowledge the receipt of a frame', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']), { async: true });
    expect(harness.answerTo(ticket)?.kind).toBe('accepted');
    expect(harness.last.persist).toEqual([]);
  });

  it('ends the instance if a reader names a later incarnation', () => {
    const harness = CoreHarness.begun();
    expect(harness.resolve([[4, 1]])).toBeNull();
    expect(harness.last.ended).toContain('4.1');
    expect(harness.last.sends).toEqual([]);
  });

  it.each(['epoch', 'incarnation'] as const)(
    'makes the instance end itself when a region has seen a later %s',
    (by) => {
      const harness = CoreHarness.begun();
      const ticket = harness.arrive(frameOf(['a']));
      harness.execute(harness.flight('near'), { votes: [{ kind: 'fenced', by }] });
      expect(harness.last.ended).toContain(`near has seen a later ${by}`);
      expect(harness.answerTo(ticket)).toBeUndefined();
    },
  );

  it('keeps an instance that has ended from taking a further step', () => {
    const harness = CoreHarness.begun();
    harness.resolve([[4, 1]]);
    expect(() => harness.tick()).toThrow('an instance that has ended takes no events');
  });
});

// R6: a failed check is an observation, recorded before it is answered.
describe('a failed check', () => {
  const failed = '[1,0,null]';

  it('is recorded under its key in the step that answers it, once every region reported the same', () => {
    const harness = CoreHarness.begun();
    const idempotency = { key: 'once', digest: 'd' };
    const frame = frameOf(['a'], { idempotency });
    const ticket = harness.arrive(frame);
    const votes = [yes(['absent'], failed)];
    for (const send of harness.flights.slice(1)) harness.execute(send, { votes });
    expect(harness.answerTo(ticket)).toBeUndefined();
    for (const send of harness.flights) harness.execute(send, { votes });
    const record = harness.record(ticket);
    expect(record).toMatchObject({ outcome: 'rejected', sequence: null, part: partOfJson(failed) });
    expect(harness.last.persist).toContainEqual(
      expect.objectContaining({
        kind: 'reject',
        writes: [expect.objectContaining({ record, idempotency })],
      }),
    );
  });

  it('releases its locks by an abort, and does not advance the sequence', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    for (const send of harness.flights) harness.execute(send, { votes: [yes(['absent'], failed)] });
    harness.advance(limits.commitLingerMs);
    for (const region of harness.regions) {
      expect(harness.deciding(region)).toEqual([
        { transaction: [3, 1], outcome: 'abort', keys: ['a'] },
      ]);
    }
    expect(harness.core.status().sequence).toBe(0);
  });

  it('is answered beside the committed parts of its transaction', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const [first, second] = [harness.arrive(frameOf(['a'])), harness.arrive(frameOf(['a']))];
    harness.executeAll();
    const votes = [yes([''], failed, '[0,1]')];
    for (const send of harness.flights.filter(({ round }) => round.prepares.length > 0)) {
      harness.execute(send, { votes });
    }
    expect(harness.record(first)).toMatchObject({ outcome: 'rejected', sequence: null });
    expect(harness.record(second)).toMatchObject({ outcome: 'committed', sequence: 2 });
  });
});
