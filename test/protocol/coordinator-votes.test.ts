import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { increment, set } from '../region/fixtures.ts';
import { CoreHarness, frameOf, start, timing } from './core-harness.ts';
import { yes } from './replies.ts';

const abort = { transaction: [3, 1], outcome: 'abort', keys: ['a'] };

// R4: all voters say yes, or it aborts; each is counted once.
describe('a vote', () => {
  it('that is missing at the deadline aborts, and its region is named', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: start + 1_000 }));
    harness.executeAll(['near', 'far']);
    harness.advance(1_000);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: 'did not vote in time' }],
    });
    expect(harness.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is missing if its round gave no answer, and the others are aborted at once', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll(['near']);
    harness.silence(harness.flight('middle'));
    harness.advance(limits.commitLingerMs);
    expect(harness.deciding('near')).toEqual([abort]);
  });

  it.each([
    ['a lock of another transaction', { kind: 'locked', key: 'a', holder: [2, 9] }, 'a lock of'],
    ['a server without memory', { kind: 'refused', reason: 'OOM' }, 'OOM'],
    ['a prepare that came too late', { kind: 'late' }, 'before its prepare came'],
  ] as const)('is no after %s, and the caller hears why', (_, vote, reason) => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: harness.now + 1 }));
    harness.execute(harness.flight('middle'), { votes: [vote] });
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    harness.advance(1);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: expect.stringContaining(reason) }],
    });
  });

  it('that is a duplicate is none: its first answer is lost, and so is the transaction', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    harness.executeAll(['near', 'far']);
    harness.execute(harness.flight('middle'), { votes: [{ kind: 'duplicate' }] });
    expect(harness.resolve([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('that comes after the abort changes nothing', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const late = harness.flight('far');
    harness.silence(harness.flight('near'));
    const { undecided, sequence } = harness.core.status();
    harness.execute(late);
    expect(harness.core.status()).toMatchObject({ undecided, sequence });
    expect(harness.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is given only by regions that got a prepare: a region without a free connection is sent no abort', () => {
    const harness = CoreHarness.begun({ connections: 2 });
    const ticket = harness.arrive(frameOf(['a']));
    const asked = harness.flights.map(({ region }) => region);
    expect(asked).toHaveLength(2);
    const [first] = harness.flights;
    if (first === undefined) throw new Error('two rounds were sent');
    harness.execute(first, { votes: [{ kind: 'refused', reason: 'OOM' }] });
    const unacknowledged = harness.core
      .status()
      .regions.filter((region) => region.unacknowledged > 0);
    expect(unacknowledged.map(({ region }) => region).sort()).toEqual(asked.sort());
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('is awaited no longer than the vote deadline, however long the caller would wait', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll(['near', 'far']);
    harness.advance(timing.voteDeadlineMs - 1);
    expect(harness.core.status().undecided).toBe(1);
    harness.advance(1);
    expect(harness.core.status().undecided).toBe(0);
    expect(harness.core.status().queued).toBe(1);
  });
});

// R5: regions that computed different results do not hold the same data.
describe('a divergence', () => {
  it('without a majority is refused by name, and nothing is stored of the write', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    harness.executeAll(['near']);
    harness.execute(harness.flight('middle'), { votes: [yes([''], '[0,"another"]')] });
    harness.execute(harness.flight('far'), { votes: [yes([''], '[0,"other"]')] });
    const answer = harness.answerTo(ticket);
    expect(answer).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(answer)).toContain('the regions have diverged');
    expect(harness.last.persist).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
    harness.advance(limits.commitLingerMs);
    expect(harness.deciding('near')).toEqual([abort]);
  });

  it('without a majority is refused for the parts on its keys alone; the others are retried', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a', 'b']));
    const concerned = [harness.arrive(frameOf(['a'])), harness.arrive(frameOf(['a', 'b']))];
    const right = harness.arrive(frameOf(['b']));
    harness.executeAll();
    const prepared = harness.flights.filter(({ round }) => round.prepares.length > 0);
    prepared.forEach((send, at) => {
      harness.execute(send, { votes: [yes(['', ''], `[0,${at}]`, '[0,1]', '[0,1]')] });
    });
    for (const ticket of concerned) {
      expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
    }
    expect(harness.answerTo(right)).toBeUndefined();
    harness.settle();
    expect(harness.record(right)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('is not reported for an expiry that only some regions noticed: the coordinator waits past it', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a']));
    const expiry = start + 300;
    harness.executeAll(['near']);
    harness.execute(harness.flight('middle'), { votes: [yes([`${expiry}`], '[0,{"s":"OK"}]')] });
    harness.execute(harness.flight('far'), { votes: [yes(['absent'], '[0,{"s":"OK"}]')] });
    harness.advance(limits.commitLingerMs);
    harness.executeAll();
    harness.advance(expiry - harness.now);
    expect(harness.flights).toEqual([]);
    harness.advance(1);
    expect(harness.preparing('far')).toEqual([[3, 2]]);
    const [prepare] = harness.flight('far').round.prepares;
    expect(prepare?.now).toBeGreaterThan(expiry);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('is not risked by an expiry that a write itself sets: it is decided at once, and after the expiry too', () => {
    const harness = CoreHarness.begun();
    const expiry = harness.now + 200;
    const operations = [set('a', 'value', `${expiry}`), increment('a')];
    const ticket = harness.arrive(frameOf(['a'], { operations }));
    harness.executeAll(['near', 'middle']);
    harness.advance(expiry + 100 - harness.now);
    harness.executeAll(['far']);
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });
});

// R27: everything follows from the moment of the transaction.
describe('a lifetime', () => {
  const operations = [{ ...set('a', 'value', '500'), lifetimeAt: 2 }];

  it('counts from the time of each attempt, and is recorded as the time of its end', () => {
    const harness = CoreHarness.begun();
    const begunAt = harness.now;
    const ticket = harness.arrive(frameOf(['a'], { operations }));
    const prepares = () => harness.flightsTo('far').flatMap(({ round }) => round.prepares);
    const momentsOf = () => prepares().map(({ parts }) => parts[0]?.operations[0]?.args[2]);
    expect(momentsOf()).toEqual([`${begunAt + 500}`]);
    harness.executeAll(['near', 'middle']);
    harness.execute(harness.flight('far'), {
      votes: [{ kind: 'refused', reason: 'out of memory' }],
    });
    harness.advance(limits.retryBackoffMinMs);
    const now = prepares()[0]?.now ?? 0;
    expect(now).toBeGreaterThan(begunAt);
    expect(momentsOf()).toEqual([`${now + 500}`]);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
    const stored = harness.persisted.flatMap((write) =>
      write.kind === 'commit' ? write.writes : [],
    );
    expect(stored.map(({ commands }) => commands)).toEqual([
      [['SET', 'a', 'value', 'PXAT', `${now + 500}`]],
    ]);
  });
});
