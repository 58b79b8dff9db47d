import { describe, expect, it } from 'vitest';
import { changesIn } from '../../functions/coordinator/storage/change-log.ts';
import type { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, change, changeAt, commit, confirm, writeOf } from './stored.ts';

const plain = { limit: 100, prefixes: [] as readonly string[], values: false, members: false };

/** Keeps only the data that must be kept. */
const drop = { keptMs: 0, keptWrites: 100 };

/** Writes 1, 3 and 5, confirmed, and changes of members 2, 4 and 6. */
function mixed(): CoordinatorStorage {
  const { storage } = begun(new MemoryStorage());
  for (const sequence of [1, 3, 5]) {
    commit(storage, sequence);
    confirm(storage, sequence, sequence);
    change(storage, sequence + 1);
  }
  return storage;
}

/** The sequences of all changes from the beginning, page by page. */
function follow(storage: CoordinatorStorage, asked: typeof plain): readonly number[] {
  const sequences: number[] = [];
  let since = 0;
  while (since < 6) {
    const page = storage.changes.page({ ...asked, since }, 6);
    if (page.kind !== 'page') throw new Error(`no page, but ${page.kind}`);
    expect(page.next).toBeGreaterThan(since);
    sequences.push(...page.changes.map(({ sequence }) => sequence));
    since = page.next;
  }
  return sequences;
}

describe('a log with changes of members', () => {
  it.each([1, 2, 100])('is paged without a gap, %i at a time', (limit) => {
    const storage = mixed();
    expect(follow(storage, { ...plain, limit })).toEqual([1, 3, 5]);
    expect(follow(storage, { ...plain, limit, members: true })).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('returns changes of members on request, regardless of the requested prefixes', () => {
    const storage = mixed();
    const asked = { ...plain, members: true, prefixes: ['key:3'] };
    expect(follow(storage, asked)).toEqual([2, 3, 4, 6]);
    const page = storage.changes.page({ ...asked, since: 5 }, 6);
    const member = changeAt(6);
    const memberChange = { sequence: 6, id: '', transaction: '', at: 6, keys: [], member };
    expect(page).toEqual({ kind: 'page', changes: [memberChange], next: 6, newest: 6 });
  });

  it('skips a page that holds only changes of members which were not requested', () => {
    const { storage } = begun(new MemoryStorage());
    const newest = limits.changesPerPage + 1;
    const changes = Array.from({ length: newest }, (_, index) => changeAt(index + 1));
    storage.write([{ kind: 'members', epoch: 1, changes }]);
    const page = storage.changes.page({ ...plain, since: 0 }, newest);
    expect(page).toMatchObject({ changes: [], next: limits.changesPerPage });
  });

  it('is dropped by age, changes of members as well as writes', () => {
    const storage = mixed();
    storage.prune(4, drop);
    expect(storage.changes.page({ ...plain, since: 3 }, 6)).toEqual({ kind: 'expired', oldest: 5 });
    const asked = { ...plain, members: true, since: 4 };
    expect(storage.changes.page(asked, 6)).toMatchObject({
      changes: [{ sequence: 5 }, { sequence: 6 }],
    });
    expect(storage.recordOf('0-3')).toBeNull();
    expect(storage.recordOf('0-5')).not.toBeNull();
  });

  it('keeps a change of members that follows an unconfirmed write', () => {
    const { storage } = begun(new MemoryStorage());
    commit(storage, 1);
    change(storage, 2);
    storage.prune(10, drop);
    expect(storage.changes.page({ ...plain, members: true, since: 0 }, 2)).toMatchObject({
      changes: [{ sequence: 1 }, { sequence: 2 }],
    });
  });

  it('has no gap if the clock of a new instance is behind a change of members', () => {
    const { storage } = begun(new MemoryStorage());
    change(storage, 1, 100);
    commit(storage, 2, { at: 50 });
    confirm(storage, 2, 60);
    change(storage, 3, 101);
    storage.prune(60, drop);
    expect(storage.changes.page({ ...plain, members: true, since: 0 }, 3)).toMatchObject({
      changes: [{ sequence: 1 }, { sequence: 2 }, { sequence: 3 }],
    });
  });

  it('is recovered write by write, past the changes of members', () => {
    const storage = mixed();
    expect(storage.changes.sequenceBefore(2)).toBe(1);
    const recovered = storage.changes.recoverable(1);
    expect(recovered.map(({ sequence }) => sequence)).toEqual([3, 5]);
    expect(storage.changes.recoverable(5)).toEqual([]);
  });

  it('leaves an unconfirmed commit its sequence and its writes', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    change(storage, 1);
    commit(storage, 2);
    expect(begun(memory).stored.unconfirmed).toMatchObject([
      { transaction: [1, 2], sequence: 2, writes: [{ keys: ['key:2'] }] },
    ]);
  });
});

describe('the last write to a key', () => {
  it('is the newest that the log holds', () => {
    const { storage } = begun(new MemoryStorage());
    commit(storage, 1, { key: 'a' });
    commit(storage, 2, { key: 'b' });
    commit(storage, 3, { key: 'a' });
    change(storage, 4);
    const last = ['a', 'b', 'c'].map((key) => storage.changes.lastWriteTo(key));
    expect(last).toEqual([3, 2, null]);
  });

  it('is not a write to a key whose text contains it', () => {
    const { storage } = begun(new MemoryStorage());
    commit(storage, 1, { key: 'a' });
    commit(storage, 2, { key: 'b","a' });
    commit(storage, 3, { key: 'a:b' });
    commit(storage, 4, { key: 'a\u0000b' });
    const last = ['a', 'a\u0000b', 'b', '"'].map((key) => storage.changes.lastWriteTo(key));
    expect(last).toEqual([1, 4, null, null]);
  });
});

describe('the changes that a step adds to the log', () => {
  it('go to the feed in the order of the log, with values', () => {
    const write = writeOf(1, 5);
    const { keys } = write;
    const changes = changesIn([
      { kind: 'prove' },
      { kind: 'members', epoch: 2, changes: [changeAt(2), changeAt(3)] },
      {
        kind: 'commit',
        transaction: [1, 1],
        keys,
        writes: [write],
        sequence: 1,
        now: 5,
        missedBy: ['beta'],
      },
    ]);
    expect(changes.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
    expect(changes[0]).toMatchObject({ commands: [['SET', 'key:1', 'v']], part: '[0,"OK"]' });
    expect(changes[1]?.member).toEqual(changeAt(2));
  });
});
