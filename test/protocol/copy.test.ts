import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { RegionLink } from '../../shared/protocol/regions/region-link.ts';
import { CopyHarness, key, startedAt } from './copy-harness.ts';
import { itemOf, readingOf } from './replies.ts';
import { voterOf } from './stored.ts';

// R34: nothing is read before the old data has been dropped.
describe('the start of a copy', () => {
  it('names its token and the generations that it may replace, and nothing is read before it is over', () => {
    const harness = new CopyHarness(true);
    const begin = harness.atTarget();
    expect(begin).toEqual({ kind: 'begin', token: 'token', number: 1, replaces: [6, 5] });
    expect(harness.isIdle(harness.source)).toBe(true);
    expect(harness.isIdle(harness.target)).toBe(true);
    harness.answer(begin);
    harness.answer(harness.atTarget());
    expect(harness.atSource()).toMatchObject({ kind: 'scan', cursor: '0', form: 'dump' });
  });

  it('is sent again under a higher number if no answer came, or if its number was too low', () => {
    const harness = new CopyHarness(false, { a: 1 });
    harness.answer(harness.atTarget(), null);
    const second = harness.atTarget();
    expect(second).toMatchObject({ kind: 'begin', number: 2 });
    harness.answer(second, { kind: 'refused', by: 'number' });
    expect(harness.atTarget()).toMatchObject({ kind: 'begin', number: 3 });
    expect(harness.isIdle(harness.source)).toBe(true);
  });

  it('fails if the target refuses it by its token', () => {
    const harness = new CopyHarness(false);
    const turn = harness.answer(harness.atTarget(), { kind: 'refused', by: 'token' });
    expect(turn).toMatchObject({ kind: 'failed', reason: expect.stringContaining('token') });
  });

  it('is sent again if it was under way when the epoch rose', () => {
    const harness = new CopyHarness(false);
    expect(harness.answer(harness.atTarget(), { kind: 'refused', by: 'epoch' }).kind).toBe('going');
    expect(harness.atTarget()).toMatchObject({ kind: 'begin', number: 2 });
  });
});

// R35: a later commit must not be taken for copied.
describe('the mark of a missed key', () => {
  it('is settled once the target has the value', () => {
    const harness = CopyHarness.paused({ a: 9, b: 10 });
    const [read, write] = harness.move();
    expect(read).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'dump' });
    expect(write).toMatchObject({ kind: 'write', data: ['data of a', 'data of b'] });
    expect(harness.target.missed.size).toBe(0);
    expect(harness.target.missed.takeSettled()).toEqual(['a', 'b']);
    expect(harness.copy.isComplete).toBe(true);
  });

  it('stays if the key was missed again after the source was read, and the key is read once more', () => {
    const harness = CopyHarness.paused({ a: 9 });
    const read = harness.atSource();
    harness.sequence = 11;
    harness.target.missed.set('a', 11);
    harness.answer(read);
    harness.answer(harness.atTarget());
    expect(harness.target.missed.takeSettled()).toEqual([]);
    expect(harness.copy.isComplete).toBe(false);
    harness.move();
    expect(harness.target.missed.takeSettled()).toEqual(['a']);
    expect(harness.copy.isComplete).toBe(true);
  });

  it('stays if the target gave no answer: the key is written again, under a higher number', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.answer(harness.atSource());
    const first = harness.atTarget();
    harness.answer(first, null);
    expect(harness.target.missed.size).toBe(1);
    const [, second] = harness.move();
    expect([first, second]).toMatchObject([
      { kind: 'write', number: 2 },
      { kind: 'write', number: 3 },
    ]);
    expect(harness.target.missed.size).toBe(0);
  });

  it('stays if the target refused the write by its number', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.answer(harness.atSource());
    const turn = harness.answer(harness.atTarget(), { kind: 'refused', by: 'number' });
    expect(turn.kind).toBe('going');
    expect(harness.target.missed.size).toBe(1);
    harness.move();
    expect(harness.target.missed.size).toBe(0);
  });

  it('stays if the key was locked at the source', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.answer(harness.atSource(), readingOf([], { locked: ['a'] }));
    expect(harness.target.missed.size).toBe(1);
    expect(harness.copy.isComplete).toBe(false);
  });

  it('is that of the text, if the key is not plain ASCII and travels as bytes', () => {
    const harness = CopyHarness.paused({ schlüssel: 9 });
    const [read] = harness.move();
    expect(read).toMatchObject({ keys: [{ key: 'schl\u00c3\u00bcssel' }] });
    expect(harness.target.missed.size).toBe(0);
  });
});

describe('the keys of a whole copy', () => {
  it('are scanned from cursor to cursor, while the keys read so far are written', () => {
    const harness = CopyHarness.listed();
    harness.answer(harness.atSource(), readingOf(['a'], { cursor: '17', total: 2 }));
    expect(harness.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
    expect(harness.atTarget()).toMatchObject({ kind: 'write', data: ['data of a'], number: 2 });
  });

  it('are read at most a few steps ahead of the target', () => {
    const harness = CopyHarness.listed();
    for (let step = 0; step <= limits.copyStepsAhead; step++) {
      harness.answer(harness.atSource(), readingOf([`k${step}`], { cursor: `${step + 1}` }));
      if (step === 0) harness.atTarget();
    }
    expect(harness.isIdle(harness.source)).toBe(true);
  });

  it('that were locked or did not fit are read by name, from their beginning', () => {
    const harness = CopyHarness.listed();
    harness.answer(harness.atSource(), readingOf([], { locked: ['a'], left: ['b'], total: 2 }));
    expect(harness.copy.isComplete).toBe(false);
    harness.copy.phase = 'hold';
    expect(harness.atSource()).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'dump' });
  });

  it('of a scan step without an answer are found by the same step again', () => {
    const harness = CopyHarness.listed();
    harness.answer(harness.atSource(), readingOf([], { cursor: '17' }));
    harness.answer(harness.atSource(), null);
    expect(harness.atSource()).toMatchObject({ kind: 'scan', cursor: '17' });
  });

  it('are not all copied before list and scan are over and nothing is on its way', () => {
    const harness = CopyHarness.begun(true);
    const seen = [harness.copy.isComplete];
    harness.answer(harness.atTarget());
    seen.push(harness.copy.isComplete);
    harness.answer(harness.atSource());
    seen.push(harness.copy.isComplete);
    expect(seen).toEqual([false, false, true]);
  });
});

describe('the keys that the source lacks', () => {
  it('are removed: listed at the target, and looked up at the source', () => {
    const harness = CopyHarness.begun(true);
    const list = harness.atTarget();
    expect(list).toMatchObject({ kind: 'list', cursor: '0' });
    harness.answer(list, { kind: 'listed', keys: ['a', 'b'], cursor: null });
    const read = harness.atSource();
    expect(read).toEqual({ kind: 'read', keys: [key('a'), key('b')], form: 'absent' });
    harness.answer(read, readingOf(['b']));
    expect(harness.atTarget()).toMatchObject({ kind: 'write', data: ['data of b'] });
  });

  it('are found before anything is scanned: to the end of the list, and until the source has answered', () => {
    const harness = CopyHarness.begun(true);
    expect(harness.isIdle(harness.source)).toBe(true);
    harness.answer(harness.atTarget(), { kind: 'listed', keys: ['a'], cursor: '9' });
    harness.answer(harness.atSource());
    const list = harness.atTarget();
    expect(list).toMatchObject({ kind: 'list', cursor: '9' });
    expect(harness.isIdle(harness.source)).toBe(true);
    harness.answer(list, { kind: 'listed', keys: ['b'], cursor: null });
    const read = harness.atSource();
    expect(read).toMatchObject({ keys: [key('b')], form: 'absent' });
    expect(harness.isIdle(harness.source)).toBe(true);
    harness.answer(read);
    expect(harness.atSource()).toMatchObject({ kind: 'scan', cursor: '0' });
  });

  it('are listed at most one step ahead of the source', () => {
    const harness = CopyHarness.begun(true);
    const keys = Array.from({ length: limits.copyKeysPerStep }, (_, at) => `k${at}`);
    harness.copy.readFrom(null);
    harness.answer(harness.atTarget(), { kind: 'listed', keys, cursor: '9' });
    expect(harness.isIdle(harness.target)).toBe(true);
    harness.copy.readFrom(harness.source);
    harness.answer(harness.atSource());
    expect(harness.atTarget()).toMatchObject({ kind: 'list', cursor: '9' });
  });

  it('are looked up again if the source gave no answer', () => {
    const harness = CopyHarness.begun(true);
    harness.answer(harness.atTarget(), { kind: 'listed', keys: ['a'], cursor: null });
    harness.answer(harness.atSource(), null);
    expect(harness.copy.isComplete).toBe(false);
    expect(harness.atSource()).toMatchObject({ keys: [key('a')], form: 'absent' });
  });

  it('are read by name if they were locked, since a lock may mean their return', () => {
    const harness = CopyHarness.begun(true);
    harness.answer(harness.atTarget(), { kind: 'listed', keys: ['a'], cursor: null });
    harness.answer(harness.atSource(), readingOf([], { locked: ['a'] }));
    harness.answer(harness.atSource());
    harness.copy.phase = 'hold';
    expect(harness.atSource()).toEqual({ kind: 'read', keys: [key('a')], form: 'dump' });
  });

  it('are listed again from the end of the last answer, if the target gave none', () => {
    const harness = CopyHarness.begun(true);
    harness.answer(harness.atTarget(), { kind: 'listed', keys: [], cursor: '4' });
    harness.answer(harness.atTarget(), null);
    expect(harness.atTarget()).toMatchObject({ kind: 'list', cursor: '4' });
  });
});

// R35: another source may hold its keys in another order.
describe('another source', () => {
  const other = () => new RegionLink(voterOf('middle'), Number.NEGATIVE_INFINITY, 0);

  it('is scanned from the beginning, and nothing is listed against it again', () => {
    const harness = CopyHarness.listed();
    harness.answer(harness.atSource(), readingOf(['a'], { cursor: '17' }));
    const late = harness.atSource();
    const scan = harness.atOther(other());
    expect(harness.source.copyStep).toBeNull();
    expect(scan).toMatchObject({ kind: 'scan', cursor: '0' });
    harness.answer(late, readingOf(['z'], { cursor: null }));
    const written = harness.atTarget();
    expect(written).toMatchObject({ data: ['data of a'] });
    harness.answer(written);
    expect(harness.copy.isComplete).toBe(false);
    expect(harness.isIdle(harness.target)).toBe(true);
    if (scan !== null) harness.answer(scan);
    expect(harness.copy.isComplete).toBe(true);
  });

  it('is asked for the missed keys requested from the last one, whose late answer is ignored', () => {
    const harness = CopyHarness.paused({ a: 9 });
    const late = harness.atSource();
    const read = harness.atOther(other());
    harness.answer(late);
    expect(harness.isIdle(harness.target)).toBe(true);
    expect(read).toMatchObject({ kind: 'read', keys: [key('a')] });
  });

  it('is asked which keys it lacks if the last one has not answered that, and no others', () => {
    const harness = CopyHarness.begun(true);
    harness.answer(harness.atTarget(), { kind: 'listed', keys: ['a'], cursor: '9' });
    harness.answer(harness.atSource(), readingOf([]));
    harness.answer(harness.atTarget(), { kind: 'listed', keys: ['b'], cursor: null });
    harness.atSource();
    expect(harness.atOther(other())).toMatchObject({ keys: [key('b')], form: 'absent' });
    expect(harness.isIdle(harness.target)).toBe(true);
  });

  it('is asked for nothing new in the write pause, if the scan was over already', () => {
    const harness = CopyHarness.listed();
    harness.answer(harness.atSource());
    harness.copy.phase = 'hold';
    expect(harness.atOther(other())).toBeNull();
    expect(harness.copy.isComplete).toBe(true);
  });
});

describe('a value too large for one round', () => {
  it('goes in pieces, each read from the end of the last one', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    expect(harness.target.missed.size).toBe(1);
    const [read] = harness.move();
    expect(read).toMatchObject({ keys: [key('a', '512')] });
    expect(harness.target.missed.size).toBe(0);
  });

  it('starts again if the key was missed again meanwhile', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    harness.sequence = 11;
    harness.target.missed.set('a', 11);
    const [read] = harness.move();
    expect(read).toMatchObject({ keys: [key('a')] });
    expect(harness.target.missed.size).toBe(0);
  });

  it('is settled only up to the last transaction assigned when its first piece was read', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    const last = harness.atSource();
    expect(last).toMatchObject({ keys: [key('a', '512')] });
    harness.sequence = 11;
    harness.target.missed.set('a', 11);
    harness.answer(last);
    harness.answer(harness.atTarget());
    expect(harness.target.missed.size).toBe(1);
  });

  it('starts again at another source', () => {
    const harness = CopyHarness.paused({ a: 9 });
    harness.move(readingOf([], { items: [itemOf('a', '512')] }));
    const other = new RegionLink(voterOf('middle'), Number.NEGATIVE_INFINITY, 0);
    harness.copy.readFrom(other);
    harness.copy.plan(harness.sequence, true);
    expect(other.copyStep).toMatchObject({ keys: [key('a')] });
  });
});

describe('a key that the target cannot take', () => {
  const failed = [{ key: 'a', reason: 'bad data format' }];

  it('is read in the logical form, and so is every key after it', () => {
    const harness = CopyHarness.paused({ a: 9, b: 9 });
    harness.answer(harness.atSource());
    expect(harness.answer(harness.atTarget(), { kind: 'written', failed }).kind).toBe('going');
    expect([...harness.target.missed.keys()]).toEqual(['a']);
    const [read] = harness.move();
    expect(read).toEqual({ kind: 'read', keys: [key('a')], form: 'logical' });
    expect(harness.target.missed.size).toBe(0);
  });

  it('in the logical form either makes the copy fail, with the error of its server', () => {
    const harness = CopyHarness.paused({ a: 9 });
    const turns = ['dump', 'logical'].map((form) => {
      const read = harness.atSource();
      expect(read).toMatchObject({ form });
      harness.answer(read);
      return harness.answer(harness.atTarget(), { kind: 'written', failed });
    });
    expect(turns).toMatchObject([
      { kind: 'going' },
      { kind: 'failed', reason: expect.stringContaining('bad data format') },
    ]);
  });
});

describe('the progress of a copy', () => {
  it('reports keys copied and left, their rate, and when they will be done', () => {
    const harness = CopyHarness.listed();
    harness.move(readingOf(['a', 'b'], { cursor: '17', total: 10 }));
    expect(harness.copy.progress(startedAt + 1_000)).toEqual({
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
    const harness = new CopyHarness(true);
    expect(harness.copy.progress(startedAt)).toMatchObject({
      phase: 'beginning',
      left: null,
      keysPerSecond: 0,
      etaMs: null,
    });
  });

  it('counts the missed keys, if only those are copied', () => {
    const harness = CopyHarness.paused({ a: 1, b: 2 });
    expect(harness.copy.progress(startedAt)).toMatchObject({ whole: false, left: 2, done: 0 });
    harness.move();
    expect(harness.copy.progress(startedAt)).toMatchObject({ left: 0, done: 2, etaMs: 0 });
  });

  it('names the phase of removals, and says that nobody has counted yet', () => {
    const harness = CopyHarness.begun(true);
    expect(harness.copy.progress(startedAt)).toMatchObject({ phase: 'removals', left: null });
    harness.answer(harness.atTarget());
    expect(harness.copy.progress(startedAt)).toMatchObject({ phase: 'keys', left: null });
  });
});
