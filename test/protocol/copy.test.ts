import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { RegionLink } from '../../shared/protocol/regions/region-link.ts';
import { Bench, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';
import { voterOf } from './stored.ts';

// R34: nothing is read before the old data has been dropped.
describe('the start of a copy', () => {
  it('names its token and the generations that it may replace, and nothing is read before it is over', () => {
    const bench = new Bench(true);
    const begin = bench.atTarget();
    expect(begin).toEqual({ kind: 'begin', token: 'token', number: 1, replaces: [6, 5] });
    expect(bench.isIdle(bench.source)).toBe(true);
    expect(bench.isIdle(bench.target)).toBe(true);
    bench.answer(begin);
    bench.answer(bench.atTarget());
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '0', form: 'dump' });
  });

  it('is sent again under a higher number if no answer came, or if its number was too low', () => {
    const bench = new Bench(false, { a: 1 });
    bench.answer(bench.atTarget(), null);
    const second = bench.atTarget();
    expect(second).toMatchObject({ kind: 'begin', number: 2 });
    bench.answer(second, { kind: 'refused', by: 'number' });
    expect(bench.atTarget()).toMatchObject({ kind: 'begin', number: 3 });
    expect(bench.isIdle(bench.source)).toBe(true);
  });

  it('fails if the target refuses it by its token', () => {
    const bench = new Bench(false);
    const turn = bench.answer(bench.atTarget(), { kind: 'refused', by: 'token' });
    expect(turn).toMatchObject({ kind: 'failed', reason: expect.stringContaining('token') });
  });

  it('is sent again if it was under way when the epoch rose', () => {
    const bench = new Bench(false);
    expect(bench.answer(bench.atTarget(), { kind: 'refused', by: 'epoch' }).kind).toBe('going');
    expect(bench.atTarget()).toMatchObject({ kind: 'begin', number: 2 });
  });
});

// R35: a later commit must not be taken for copied.
describe('the mark of a missed key', () => {
  it('is settled once the target has the value', () => {
    const bench = Bench.paused({ a: 9, b: 10 });
    const [read, write] = bench.move();
    expect(read).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'dump' });
    expect(write).toMatchObject({ kind: 'write', data: ['data of a', 'data of b'] });
    expect(bench.target.missed.size).toBe(0);
    expect(bench.target.missed.takeSettled()).toEqual(['a', 'b']);
    expect(bench.copy.isComplete).toBe(true);
  });

  it('stays if the key was missed again after the source was read, and the key is read once more', () => {
    const bench = Bench.paused({ a: 9 });
    const read = bench.atSource();
    bench.sequence = 11;
    bench.target.missed.set('a', 11);
    bench.answer(read);
    bench.answer(bench.atTarget());
    expect(bench.target.missed.takeSettled()).toEqual([]);
    expect(bench.copy.isComplete).toBe(false);
    bench.move();
    expect(bench.target.missed.takeSettled()).toEqual(['a']);
    expect(bench.copy.isComplete).toBe(true);
  });

  it('stays if the target gave no answer: the key is written again, under a higher number', () => {
    const bench = Bench.paused({ a: 9 });
    bench.answer(bench.atSource());
    const first = bench.atTarget();
    bench.answer(first, null);
    expect(bench.target.missed.size).toBe(1);
    const [, second] = bench.move();
    expect([first, second]).toMatchObject([
      { kind: 'write', number: 2 },
      { kind: 'write', number: 3 },
    ]);
    expect(bench.target.missed.size).toBe(0);
  });

  it('stays if the target refused the write by its number', () => {
    const bench = Bench.paused({ a: 9 });
    bench.answer(bench.atSource());
    const turn = bench.answer(bench.atTarget(), { kind: 'refused', by: 'number' });
    expect(turn.kind).toBe('going');
    expect(bench.target.missed.size).toBe(1);
    bench.move();
    expect(bench.target.missed.size).toBe(0);
  });

  it('stays if the key was locked at the source', () => {
    const bench = Bench.paused({ a: 9 });
    bench.answer(bench.atSource(), readingOf([], { locked: ['a'] }));
    expect(bench.target.missed.size).toBe(1);
    expect(bench.copy.isComplete).toBe(false);
  });

  it('is that of the text, if the key is not plain ASCII and travels as bytes', () => {
    const bench = Bench.paused({ schlüssel: 9 });
    const [read] = bench.move();
    expect(read).toMatchObject({ keys: [{ key: 'schl\u00c3\u00bcssel' }] });
    expect(bench.target.missed.size).toBe(0);
  });
});

describe('the keys of a whole copy', () => {
  it('are scanned from cursor to cursor, while the keys read so far are written', () => {
    const bench = Bench.listed();
    bench.answer(bench.atSource(), readingOf(['a'], { cursor: '17', total: 2 }));
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
    expect(bench.atTarget()).toMatchObject({ kind: 'write', data: ['data of a'], number: 2 });
  });

  it('are read at most a few steps ahead of the target', () => {
    const bench = Bench.listed();
    for (let step = 0; step <= limits.copyStepsAhead; step++) {
      bench.answer(bench.atSource(), readingOf([`k${step}`], { cursor: `${step + 1}` }));
      if (step === 0) bench.atTarget();
    }
    expect(bench.isIdle(bench.source)).toBe(true);
  });

  it('that were locked or did not fit are read by name, from their beginning', () => {
    const bench = Bench.listed();
    bench.answer(bench.atSource(), readingOf([], { locked: ['a'], left: ['b'], total: 2 }));
    expect(bench.copy.isComplete).toBe(false);
    bench.copy.phase = 'hold';
    expect(bench.atSource()).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'dump' });
  });

  it('of a scan step without an answer are found by the same step again', () => {
    const bench = Bench.listed();
    bench.answer(bench.atSource(), readingOf([], { cursor: '17' }));
    bench.answer(bench.atSource(), null);
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
  });

  it('are not all copied before list and scan are over and nothing is on its way', () => {
    const bench = Bench.begun(true);
    const seen = [bench.copy.isComplete];
    bench.answer(bench.atTarget());
    seen.push(bench.copy.isComplete);
    bench.answer(bench.atSource());
    seen.push(bench.copy.isComplete);
    expect(seen).toEqual([false, false, true]);
  });
});

describe('the keys that the source lacks', () => {
  it('are removed: listed at the target, and looked up at the source', () => {
    const bench = Bench.begun(true);
    const list = bench.atTarget();
    expect(list).toMatchObject({ kind: 'list', cursor: '0' });
    bench.answer(list, { kind: 'listed', keys: ['a', 'b'], cursor: null });
    const read = bench.atSource();
    expect(read).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'absent' });
    bench.answer(read, readingOf(['b']));
    expect(bench.atTarget()).toMatchObject({ kind: 'write', data: ['data of b'] });
  });

  it('are found before anything is scanned: to the end of the list, and until the source has answered', () => {
    const bench = Bench.begun(true);
    expect(bench.isIdle(bench.source)).toBe(true);
    bench.answer(bench.atTarget(), { kind: 'listed', keys: ['a'], cursor: '9' });
    bench.answer(bench.atSource());
    const list = bench.atTarget();
    expect(list).toMatchObject({ kind: 'list', cursor: '9' });
    expect(bench.isIdle(bench.source)).toBe(true);
    bench.answer(list, { kind: 'listed', keys: ['b'], cursor: null });
    const read = bench.atSource();
    expect(read).toMatchObject({ keys: [key('b')], form: 'absent' });
    expect(bench.isIdle(bench.source)).toBe(true);
    bench.answer(read);
    expect(bench.atSource()).toMatchObject({ kind: 'scan', cursor: '0' });
  });

  it('are listed at most one step ahead of the source', () => {
    const bench = Bench.begun(true);
    const keys = Array.from({ length: limits.copyKeysPerStep }, (_, at) => `k${at}`);
    bench.copy.readFrom(null);
    bench.answer(bench.atTarget(), { kind: 'listed', keys, cursor: '9' });
    expect(bench.isIdle(bench.target)).toBe(true);
    bench.copy.readFrom(bench.source);
    bench.answer(bench.atSource());
    expect(bench.atTarget()).toMatchObject({ kind: 'list', cursor: '9' });
  });

  it('are looked up again if the source gave no answer', () => {
    const bench = Bench.begun(true);
    bench.answer(bench.atTarget(), { kind: 'listed', keys: ['a'], cursor: null });
    bench.answer(bench.atSource(), null);
    expect(bench.copy.isComplete).toBe(false);
    expect(bench.atSource()).toMatchObject({ keys: [key('a')], form: 'absent' });
  });

  it('are read by name if they were locked, since a lock may mean their return', () => {
    const bench = Bench.begun(true);
    bench.answer(bench.atTarget(), { kind: 'listed', keys: ['a'], cursor: null });
    bench.answer(bench.atSource(), readingOf([], { locked: ['a'] }));
    bench.answer(bench.atSource());
    bench.copy.phase = 'hold';
    expect(bench.atSource()).toEqual({ kind: 'read', keys: [key('a')], form: 'dump' });
  });

  it('are listed again from the end of the last answer, if the target gave none', () => {
    const bench = Bench.begun(true);
    bench.answer(bench.atTarget(), { kind: 'listed', keys: [], cursor: '4' });
    bench.answer(bench.atTarget(), null);
    expect(bench.atTarget()).toMatchObject({ kind: 'list', cursor: '4' });
  });
});

// R35: another source may hold its keys in another order.
describe('another source', () => {
  const other = () => new RegionLink(voterOf('middle'), Number.NEGATIVE_INFINITY, 0);

  it('is scanned from the beginning, and nothing is listed against it again', () => {
    const bench = Bench.listed();
    bench.answer(bench.atSource(), readingOf(['a'], { cursor: '17' }));
    const late = bench.atSource();
    const scan = bench.atOther(other());
    expect(bench.source.copyStep).toBeNull();
    expect(scan).toMatchObject({ kind: 'scan', cursor: '0' });
    bench.answer(late, readingOf(['z'], { cursor: null }));
    const written = bench.atTarget();
    expect(written).toMatchObject({ data: ['data of a'] });
    bench.answer(written);
    expect(bench.copy.isComplete).toBe(false);
    expect(bench.isIdle(bench.target)).toBe(true);
    if (scan !== null) bench.answer(scan);
    expect(bench.copy.isComplete).toBe(true);
  });

  it('is asked for the missed keys requested from the last one, whose late answer is ignored', () => {
    const bench = Bench.paused({ a: 9 });
    const late = bench.atSource();
    const read = bench.atOther(other());
    bench.answer(late);
    expect(bench.isIdle(bench.target)).toBe(true);
    expect(read).toMatchObject({ kind: 'read', keys: [key('a')] });
  });

  it('is asked which keys it lacks if the last one has not answered that, and no others', () => {
    const bench = Bench.begun(true);
    bench.answer(bench.atTarget(), { kind: 'listed', keys: ['a'], cursor: '9' });
    bench.answer(bench.atSource(), readingOf([]));
    bench.answer(bench.atTarget(), { kind: 'listed', keys: ['b'], cursor: null });
    bench.atSource();
    expect(bench.atOther(other())).toMatchObject({ keys: [key('b')], form: 'absent' });
    expect(bench.isIdle(bench.target)).toBe(true);
  });

  it('is asked for nothing new in the write pause, if the scan was over already', () => {
    const bench = Bench.listed();
    bench.answer(bench.atSource());
    bench.copy.phase = 'hold';
    expect(bench.atOther(other())).toBeNull();
    expect(bench.copy.isComplete).toBe(true);
  });
});

describe('a value too large for one round', () => {
  it('goes in pieces, each read from the end of the last one', () => {
    const bench = Bench.paused({ a: 9 });
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    expect(bench.target.missed.size).toBe(1);
    const [read] = bench.move();
    expect(read).toMatchObject({ keys: [key('a', '512')] });
    expect(bench.target.missed.size).toBe(0);
  });

  it('starts again if the key was missed again meanwhile', () => {
    const bench = Bench.paused({ a: 9 });
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    bench.sequence = 11;
    bench.target.missed.set('a', 11);
    const [read] = bench.move();
    expect(read).toMatchObject({ keys: [key('a')] });
    expect(bench.target.missed.size).toBe(0);
  });

  it('is settled only up to the last transaction assigned when its first piece was read', () => {
    const bench = Bench.paused({ a: 9 });
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    const last = bench.atSource();
    expect(last).toMatchObject({ keys: [key('a', '512')] });
    bench.sequence = 11;
    bench.target.missed.set('a', 11);
    bench.answer(last);
    bench.answer(bench.atTarget());
    expect(bench.target.missed.size).toBe(1);
  });

  it('starts again at another source', () => {
    const bench = Bench.paused({ a: 9 });
    bench.move(readingOf([], { items: [itemOf('a', '512')] }));
    const other = new RegionLink(voterOf('middle'), Number.NEGATIVE_INFINITY, 0);
    bench.copy.readFrom(other);
    bench.copy.plan(bench.sequence, true);
    expect(other.copyStep).toMatchObject({ keys: [key('a')] });
  });
});

describe('a key that the target cannot take', () => {
  const failed = [{ key: 'a', reason: 'bad data format' }];

  it('is read in the logical form, and so is every key after it', () => {
    const bench = Bench.paused({ a: 9, b: 9 });
    bench.answer(bench.atSource());
    expect(bench.answer(bench.atTarget(), { kind: 'written', failed }).kind).toBe('going');
    expect([...bench.target.missed.keys()]).toEqual(['a']);
    const [read] = bench.move();
    expect(read).toEqual({ kind: 'read', keys: [key('a')], form: 'logical' });
    expect(bench.target.missed.size).toBe(0);
  });

  it('in the logical form either makes the copy fail, with the error of its server', () => {
    const bench = Bench.paused({ a: 9 });
    const turns = ['dump', 'logical'].map((form) => {
      const read = bench.atSource();
      expect(read).toMatchObject({ form });
      bench.answer(read);
      return bench.answer(bench.atTarget(), { kind: 'written', failed });
    });
    expect(turns).toMatchObject([
      { kind: 'going' },
      { kind: 'failed', reason: expect.stringContaining('bad data format') },
    ]);
  });
});

describe('the progress of a copy', () => {
  it('reports keys copied and left, their rate, and when they will be done', () => {
    const bench = Bench.listed();
    bench.move(readingOf(['a', 'b'], { cursor: '17', total: 10 }));
    expect(bench.copy.progress(startedAt + 1_000)).toEqual({
      whole: true,
      source: 'near',
      phase: 'keys',
      startedAt,
      done: 2,
      left: 8,
      keysPerSecond: 2,
      etaMs: 4_000,
    });
  });

  it('says that nobody has counted, before the source has', () => {
    const bench = new Bench(true);
    expect(bench.copy.progress(startedAt)).toMatchObject({
      phase: 'beginning',
      left: null,
      keysPerSecond: 0,
      etaMs: null,
    });
  });

  it('counts the missed keys, if only those are copied', () => {
    const bench = Bench.paused({ a: 1, b: 2 });
    expect(bench.copy.progress(startedAt)).toMatchObject({ whole: false, left: 2, done: 0 });
    bench.move();
    expect(bench.copy.progress(startedAt)).toMatchObject({ left: 0, done: 2, etaMs: 0 });
  });

  it('names the phase of removals, and says that nobody has counted yet', () => {
    const bench = Bench.begun(true);
    expect(bench.copy.progress(startedAt)).toMatchObject({ phase: 'removals', left: null });
    bench.answer(bench.atTarget());
    expect(bench.copy.progress(startedAt)).toMatchObject({ phase: 'keys', left: null });
  });
});
