import { describe, expect, it } from 'vitest';
import {
  jointStorageFormat,
  storageFormat,
} from '../../functions/coordinator/storage/storage-format.ts';
import { limits } from '../../shared/limits.ts';
import type { StorageWrite } from '../../shared/protocol/io/ready.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, pruneAll, writeOf } from './stored.ts';

const name = { shard: 3, birth: 77, incarnation: 4, sequence: 9 };
const loan = { transaction: [1, 5] as const, name, keys: ['a1', 'b\u0000\u00e9'] };
const homeShare = { shard: 3, transaction: [4, 9] as const, keys: ['a3'] };
const ownShare = { shard: 0, transaction: [1, 5] as const, keys: ['key:1'] };
const guestShare = { shard: 2, transaction: [8, 1] as const, keys: ['a2'] };

/** The commit of a loan, as a guest stores it. */
const concluded: StorageWrite = {
  kind: 'loan-commit',
  transaction: loan.transaction,
  name,
  keys: loan.keys,
  otherShares: [homeShare],
  sequence: 1,
  homeSequence: 12,
  at: 1_000,
  now: 2_000,
  missedBy: ['far'],
};

/** A joint commit, as its home stores it. */
function jointCommit(unacknowledged: readonly number[] = [2]) {
  const shares = [ownShare, guestShare];
  return {
    kind: 'commit',
    transaction: [1, 5],
    keys: ['key:1'],
    writes: [writeOf(1, 1_000)],
    sequence: 1,
    now: 3_000,
    missedBy: [],
    joint: { transaction: [1, 5], shares, sequence: 1, now: 3_000, unacknowledged },
  } satisfies StorageWrite;
}

function formatIn(memory: MemoryStorage): unknown {
  const sql = "SELECT value FROM meta WHERE name = 'format'";
  return memory.sql.exec<{ value: number }>(sql).toArray()[0]?.value;
}

/** The rows that a step writes. */
function rowsOf(memory: MemoryStorage, work: () => void): number {
  const before = memory.rowsWritten;
  work();
  return memory.rowsWritten - before;
}

describe('the storage of a guest', () => {
  it('has an open loan for the next life, and no more once it is concluded', () => {
    const memory = new MemoryStorage();
    begun(memory).storage.write([{ kind: 'lend', loan }]);
    const { storage, stored } = begun(memory);
    expect(stored.loans).toEqual([loan]);
    storage.write([concluded]);
    expect(begun(memory).stored.loans).toEqual([]);
  });

  it('has the commit of a loan among its decisions, with the other shares, until it is confirmed', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    storage.write([{ kind: 'lend', loan }]);
    storage.write([concluded]);
    const decision = { transaction: [1, 5], keys: loan.keys, otherShares: [homeShare] };
    expect(storage.decisionsOf([[1, 5]])).toEqual([decision]);
    const { storage: next, stored } = begun(memory);
    expect(stored.unconfirmed).toEqual([{ ...decision, sequence: 1, writes: [] }]);
    expect(stored).toMatchObject({ sequence: 1, now: 2_000 });
    expect(stored.missed).toEqual([{ region: 'far', keys: loan.keys.map((key) => [key, 1]) }]);
    expect(next.jointCommits.find([1, 5])).toBeNull();
    next.write([{ kind: 'confirm', transactions: [[1, 5]], now: 4_000 }]);
    expect(begun(memory).stored.unconfirmed).toEqual([]);
  });

  it('keeps the clock of a loan that was aborted', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    storage.write([{ kind: 'lend', loan }]);
    storage.write([{ kind: 'loan-abort', transaction: loan.transaction, now: 9_000 }]);
    expect(begun(memory).stored).toMatchObject({ loans: [], now: 9_000 });
  });
});

describe('the storage of a home', () => {
  it('has a joint commit until each guest has acknowledged it', () => {
    const memory = new MemoryStorage();
    begun(memory).storage.write([jointCommit([2, 3])]);
    const { storage, stored } = begun(memory);
    const commit = { transaction: [1, 5], shares: [ownShare, guestShare], sequence: 1, now: 3_000 };
    expect(stored.jointCommits).toEqual([{ ...commit, unacknowledged: [2, 3] }]);
    storage.write([{ kind: 'guest-acknowledged', transaction: [1, 5], guest: 3 }]);
    const { storage: next, stored: later } = begun(memory);
    expect(later.jointCommits).toEqual([{ ...commit, unacknowledged: [2] }]);
    next.write([{ kind: 'guest-acknowledged', transaction: [1, 5], guest: 2 }]);
    const { storage: last, stored: at } = begun(memory);
    expect(at.jointCommits).toEqual([]);
    expect(last.jointCommits.find([1, 5])).toEqual({ ...commit, unacknowledged: [] });
  });

  it('does not drop a confirmed joint commit that a guest has not acknowledged', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    storage.write([jointCommit()]);
    storage.write([{ kind: 'confirm', transactions: [[1, 5]], now: 4_000 }]);
    storage.write([
      {
        kind: 'commit',
        transaction: [1, 6],
        keys: ['key:2'],
        writes: [writeOf(2, 5_000)],
        sequence: 2,
        now: 5_000,
        missedBy: [],
      },
    ]);
    pruneAll(storage, 5_000 + 2 * limits.decisionsKeptMs, { keptMs: 1, keptWrites: 0 });
    expect(storage.jointCommits.find([1, 5])).not.toBeNull();
    expect(begun(memory).stored.jointCommits).toHaveLength(1);
  });

  it('has a share that is much larger than a key', () => {
    const memory = new MemoryStorage();
    const keys = Array.from({ length: 500 }, (_, at) => `${'k'.repeat(3_000)}${at}`);
    const commit = jointCommit();
    const shares = [ownShare, { ...guestShare, keys }];
    begun(memory).storage.write([{ ...commit, joint: { ...commit.joint, shares } }]);
    expect(begun(memory).stored.jointCommits?.[0]?.shares[1]?.keys).toEqual(keys);
  });
});

describe('the format of the storage', () => {
  it('stays as it is for a shard that is alone', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const { joint: _, ...alone } = jointCommit();
    storage.write([alone]);
    expect(formatIn(memory)).toBe(storageFormat);
    const tables = memory.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'loan'").toArray();
    expect(tables).toEqual([]);
  });

  it('becomes that of joint writes with the first loan or joint commit', () => {
    for (const write of [jointCommit(), { kind: 'lend', loan } as const]) {
      const memory = new MemoryStorage();
      begun(memory).storage.write([write]);
      expect(formatIn(memory)).toBe(jointStorageFormat);
      expect(begun(memory).stored.incarnation).toBe(2);
      expect(formatIn(memory)).toBe(jointStorageFormat);
    }
  });
});

describe('the rows of a joint write', () => {
  it('are at most four in a guest and in a home with one guest', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const first = { ...loan, transaction: [1, 1] as const };
    storage.write([{ kind: 'lend', loan: first }]);
    storage.write([{ kind: 'loan-abort', transaction: [1, 1], now: 1 }]);
    const confirm = { kind: 'confirm', transactions: [[1, 5]], now: 4_000 } as const;
    const guest = rowsOf(memory, () => {
      storage.write([{ kind: 'lend', loan }]);
      storage.write([{ ...concluded, missedBy: [] }]);
      storage.write([confirm]);
    });
    expect(guest).toBeLessThanOrEqual(4);
    const other = new MemoryStorage();
    const { storage: home } = begun(other);
    home.write([{ kind: 'lend', loan: first }]);
    const rows = rowsOf(other, () => {
      home.write([jointCommit()]);
      home.write([{ kind: 'guest-acknowledged', transaction: [1, 5], guest: 2 }]);
      home.write([confirm]);
    });
    expect(rows).toBeLessThanOrEqual(4);
  });
});
