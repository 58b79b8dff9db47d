import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { increment, set } from '../region/fixtures.ts';
import { frameOf, Rig, start, timing } from './core-harness.ts';
import { yes } from './replies.ts';

const abort = { transaction: [3, 1], outcome: 'abort', keys: ['a'] };

// R4: all voters say yes, or it aborts; each is counted once.
describe('a vote', () => {
  it('that is missing at the deadline aborts, and its region is named', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: start + 1_000 }));
    rig.executeAll(['near', 'far']);
    rig.advance(1_000);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: 'did not vote in time' }],
    });
    expect(rig.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is missing where its round gave no answer, and the others are aborted at once', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.executeAll(['near']);
    rig.silence(rig.flight('middle'));
    rig.advance(limits.commitLingerMs);
    expect(rig.deciding('near')).toEqual([abort]);
  });

  it.each([
    ['a lock of another transaction', { kind: 'locked', key: 'a', holder: [2, 9] }, 'a lock of'],
    ['a server without memory', { kind: 'refused', reason: 'OOM' }, 'OOM'],
    ['a prepare that came too late', { kind: 'late' }, 'before its prepare came'],
  ] as const)('is no after %s, and the caller hears why', (_, vote, reason) => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: rig.now + 1 }));
    rig.execute(rig.flight('middle'), { votes: [vote] });
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    rig.advance(1);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: expect.stringContaining(reason) }],
    });
  });

  it('that is a duplicate is none: its first answer is lost, and so is the transaction', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    rig.executeAll(['near', 'far']);
    rig.execute(rig.flight('middle'), { votes: [{ kind: 'duplicate' }] });
    expect(rig.ask([[3, 1]])).toEqual([{ kind: 'aborted', transaction: [3, 1] }]);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('that comes after the abort changes nothing', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const late = rig.flight('far');
    rig.silence(rig.flight('near'));
    const { undecided, sequence } = rig.core.status();
    rig.execute(late);
    expect(rig.core.status()).toMatchObject({ undecided, sequence });
    expect(rig.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is given only by regions that were asked: where no connection was free, none is aborted', () => {
    const rig = Rig.greeted({ connections: 2 });
    const ticket = rig.arrive(frameOf(['a']));
    const asked = rig.flights.map(({ region }) => region);
    expect(asked).toHaveLength(2);
    const [first] = rig.flights;
    if (first === undefined) throw new Error('two rounds were sent');
    rig.execute(first, { votes: [{ kind: 'refused', reason: 'OOM' }] });
    const told = rig.core.status().regions.filter(({ unacknowledged }) => unacknowledged > 0);
    expect(told.map(({ region }) => region).sort()).toEqual(asked.sort());
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2 });
  });

  it('is awaited no longer than the vote deadline, however long the caller would wait', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.executeAll(['near', 'far']);
    rig.advance(timing.voteDeadlineMs - 1);
    expect(rig.core.status().undecided).toBe(1);
    rig.advance(1);
    expect(rig.core.status().undecided).toBe(0);
    expect(rig.core.status().queued).toBe(1);
  });
});

// R5: regions that computed different results do not hold the same data.
describe('a divergence', () => {
  it('without a majority is refused by name, and nothing is stored of the write', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    rig.executeAll(['near']);
    rig.execute(rig.flight('middle'), { votes: [yes([''], '[0,"another"]')] });
    rig.execute(rig.flight('far'), { votes: [yes([''], '[0,"other"]')] });
    const answer = rig.told(ticket);
    expect(answer).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(answer)).toContain('the regions have diverged');
    expect(rig.last.persist).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
    rig.advance(limits.commitLingerMs);
    expect(rig.deciding('near')).toEqual([abort]);
  });

  it('without a majority is refused for the parts on its keys alone; the others are tried again', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a', 'b']));
    const concerned = [rig.arrive(frameOf(['a'])), rig.arrive(frameOf(['a', 'b']))];
    const right = rig.arrive(frameOf(['b']));
    rig.executeAll();
    const prepared = rig.flights.filter(({ round }) => round.prepares.length > 0);
    prepared.forEach((send, at) => {
      rig.execute(send, { votes: [yes(['', ''], `[0,${at}]`, '[0,1]', '[0,1]')] });
    });
    for (const ticket of concerned) {
      expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable', code: 'diverged' });
    }
    expect(rig.told(right)).toBeUndefined();
    rig.settle();
    expect(rig.record(right)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('is not seen in an expiry that only some regions noticed: that is waited out', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a']));
    const expiry = start + 300;
    rig.executeAll(['near']);
    rig.execute(rig.flight('middle'), { votes: [yes([`${expiry}`], '[0,{"s":"OK"}]')] });
    rig.execute(rig.flight('far'), { votes: [yes(['absent'], '[0,{"s":"OK"}]')] });
    rig.advance(limits.commitLingerMs);
    rig.executeAll();
    rig.advance(expiry - rig.now);
    expect(rig.flights).toEqual([]);
    rig.advance(1);
    expect(rig.preparing('far')).toEqual([[3, 2]]);
    const [prepare] = rig.flight('far').round.prepares;
    expect(prepare?.now).toBeGreaterThan(expiry);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('is not risked by an expiry that a write itself sets: it is decided at once, and after the expiry too', () => {
    const rig = Rig.greeted();
    const expiry = rig.now + 200;
    const operations = [set('a', 'value', `${expiry}`), increment('a')];
    const ticket = rig.arrive(frameOf(['a'], { operations }));
    rig.executeAll(['near', 'middle']);
    rig.advance(expiry + 100 - rig.now);
    rig.executeAll(['far']);
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });
});

// R27: everything follows from the moment of the transaction.
describe('a lifetime', () => {
  const operations = [{ ...set('a', 'value', '500'), lifetimeAt: 2 }];

  it('counts from the moment of each attempt, and is recorded as the moment of its end', () => {
    const rig = Rig.greeted();
    const begunAt = rig.now;
    const ticket = rig.arrive(frameOf(['a'], { operations }));
    const prepares = () => rig.flightsTo('far').flatMap(({ round }) => round.prepares);
    const momentsOf = () => prepares().map(({ parts }) => parts[0]?.operations[0]?.args[2]);
    expect(momentsOf()).toEqual([`${begunAt + 500}`]);
    rig.executeAll(['near', 'middle']);
    rig.execute(rig.flight('far'), { votes: [{ kind: 'refused', reason: 'out of memory' }] });
    rig.advance(limits.retryBackoffMinMs);
    const now = prepares()[0]?.now ?? 0;
    expect(now).toBeGreaterThan(begunAt);
    expect(momentsOf()).toEqual([`${now + 500}`]);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
    const stored = rig.persisted.flatMap((write) => (write.kind === 'commit' ? write.writes : []));
    expect(stored.map(({ commands }) => commands)).toEqual([
      [['SET', 'a', 'value', 'PXAT', `${now + 500}`]],
    ]);
  });
});
