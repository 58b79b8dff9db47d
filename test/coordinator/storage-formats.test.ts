import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { storageFormat } from '../../functions/coordinator/storage/storage-format.ts';
import { keptKeyOf } from '../../shared/http/idempotency.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit, pruneAll } from './stored.ts';

/** The storage of a coordinator as a release left it. */
function storageOf(release: string): MemoryStorage {
  const memory = new MemoryStorage();
  memory.sql.exec(readFileSync(`test/storage-formats/coordinator-${release}.sql`, 'utf8'));
  return memory;
}

const start = 1_790_000_000_000;
const idOf = (number: number) => `0-0199a5c0-0000-7000-8000-${String(number).padStart(12, '0')}`;

const all = { since: 0, limit: 10, prefixes: [], values: true, members: true };

describe('the storage of release 0.1', () => {
  it('starts an instance with all its data', () => {
    const memory = storageOf('0.1');
    const { storage, stored } = begun(memory);
    expect(stored).toMatchObject({
      generation: start,
      epoch: 1,
      incarnation: 3,
      sequence: 4,
      now: start + 6_000,
      unconfirmed: [
        { transaction: [2, 6], keys: ['key:6'], sequence: 4, writes: [{ keys: ['key:6'] }] },
      ],
      missed: [
        {
          region: 'gamma',
          keys: [
            ['key:3', 3],
            ['key:6', 4],
          ],
        },
      ],
      blocked: [{ key: 'key:blocked', detail: 'alpha and beta differ' }],
      subscriptions: [{ endpoint: 'wh_one', url: 'https://example.com/all' }],
    });
    const voters = stored.regions.filter(({ membership }) => membership.state === 'voter');
    expect(voters.map(({ region, pair }) => [region, pair])).toEqual([
      ['alpha', [41, 'mark-41']],
      ['beta', [41, 'mark-41']],
    ]);
    const query = { since: 0, limit: 10, prefixes: [], values: true, members: true };
    const page = storage.changes.page(query, 4);
    expect(page).toMatchObject({
      changes: [
        { sequence: 1, id: idOf(1), commands: [['SET', 'key:1', 'value 1']] },
        { sequence: 2, member: { region: 'gamma', event: 'out' } },
        { sequence: 3 },
        { sequence: 4 },
      ],
    });
    expect(storage.recordOf(idOf(5))?.record.outcome).toBe('rejected');
    expect(storage.subscriptions.outboxOf('cb_one', 10).events).toHaveLength(1);
    expect(storage.subscriptions.signingKey()?.id).toBe('key-1');
    expect(storage.members.addresses().get('gamma')?.token).toBe('token of gamma');
    expect(storage.scripts.textOf('e0e1f9fabfc9d4800c877a703b823ac0578ff8db')).toBe('return 1');
  });

  it('answers its idempotency keys, for any sender, for a day', () => {
    const { storage } = begun(storageOf('0.1'));
    const key = keptKeyOf('client', 'order-3', null);
    const over = start + 4_000 + limits.keysKeptMsDefault;
    expect(storage.recordedUnder(key, start)).toMatchObject({ digest: 'd3' });
    expect(storage.recordedUnder(keptKeyOf('client', 'order', 3), start)).toBeNull();
    const rejected = storage.recordedUnder(keptKeyOf('client', 'order-4', null), start);
    expect(rejected?.record.outcome).toBe('rejected');
    expect(storage.recordedUnder(key, over + 1)).toBeNull();
  });

  it('continues: it is written to, pruned to nothing, and starts further instances in the form of this release', () => {
    const memory = storageOf('0.1');
    const { storage } = begun(memory);
    commit(storage, 5);
    const transactions = [
      [2, 6],
      [1, 5],
    ] as const;
    storage.write([{ kind: 'confirm', transactions, now: start + 9_000 }]);
    pruneAll(storage, start + 10 * limits.decisionsKeptMs);
    // The last step stays: it has the present state.
    expect(memory.sql.exec('SELECT count(*) AS n FROM log').toArray()).toEqual([{ n: 1 }]);
    expect(memory.sql.exec('SELECT * FROM kept_answer').toArray()).toEqual([]);
    const tables = memory.sql.exec("SELECT name FROM sqlite_master WHERE type = 'table'").toArray();
    for (const table of ['write', 'change_log', 'decision', 'owed']) {
      expect(tables).not.toContainEqual({ name: table });
    }
    expect(begun(memory).stored.incarnation).toBe(4);
    const format = memory.sql.exec("SELECT value FROM meta WHERE name = 'format'").toArray();
    expect(format).toEqual([{ value: storageFormat }]);
  });
});

describe('a storage of format 2', () => {
  const begin = 1_795_000_000_000;

  it('starts an instance with all its data, and the next one alike', () => {
    const memory = storageOf('2');
    for (const incarnation of [2, 3]) {
      const { storage, stored } = begun(memory);
      expect(stored).toMatchObject({
        ...{ generation: begin, epoch: 1, incarnation, sequence: 7, now: begin + 12_000 },
        isResting: false,
        unconfirmed: [{ transaction: [1, 8], keys: ['key:10'], sequence: 6 }],
        missed: [
          {
            region: 'gamma',
            keys: ['\0raw\xff', 'key:4', 'key:5', 'key:6'].map((key) => [key, 5]),
          },
        ],
      });
      expect(stored.unconfirmed).toHaveLength(1);
      expect(stored.regions.map(({ region, pair }) => [region, pair])).toEqual([
        ['alpha', [11, 'nonce-11']],
        ['beta', [8, 'nonce-8']],
      ]);
      expect(storage.horizon).toEqual([1, 2]);
      expect(storage.changes.page(all, 7)).toEqual({ kind: 'expired', oldest: 3 });
      expect(storage.changes.page({ ...all, since: 2 }, 7)).toMatchObject({
        changes: [
          { sequence: 3, member: { region: 'gamma', event: 'out' } },
          { sequence: 4, keys: ['\0raw\xff'], commands: [['SET', '\0raw\xff', 'value 4']] },
          { sequence: 5, keys: ['key:6', 'key:4'], commands: [['SET', 'key:6', '漢\0']] },
          { sequence: 6 },
          { sequence: 7 },
        ],
      });
      expect(storage.changes.recoverable(4)).toMatchObject([
        { sequence: 5, confirmedAt: begin + 6_500 },
        { sequence: 6, confirmedAt: null },
        { sequence: 7, confirmedAt: begin + 11_500 },
      ]);
      expect(storage.changes.lastWriteTo('key:4')).toBe(5);
    }
  });

  it('finds its records, its answers and its outbox', () => {
    const { storage } = begun(storageOf('2'));
    expect(storage.recordOf(idOf(4))).toMatchObject({ confirmed: true, record: { sequence: 4 } });
    expect(storage.recordOf(idOf(5))?.record).toMatchObject({ outcome: 'rejected' });
    expect(storage.recordOf(idOf(7))?.record).toMatchObject({ outcome: 'rejected' });
    expect(storage.recordOf(idOf(9))).toBeNull();
    expect(storage.abandoned(idOf(9))).toBe('no time was left');
    expect(storage.recordOf(idOf(10))?.confirmed).toBe(false);
    // The change of the first was dropped, its answer is promised.
    for (const [key, number] of [
      ['two', 2],
      ['six', 6],
      ['eight', 8],
    ] as const) {
      const found = storage.recordedUnder(`client::${key}`, begin);
      expect(found).toMatchObject({ digest: `d${number}`, record: { id: idOf(number) } });
    }
    expect(storage.decisionsOf([[1, 5]])).toEqual([
      { transaction: [1, 5], keys: ['\0raw\xff', 'key:5', 'key:6', 'key:4'] },
    ]);
    expect(storage.decisionsOf([[1, 2]])).toEqual([]);
    expect(storage.subscriptions.outboxOf('cb_one', 10).events).toMatchObject([
      { type: 'write.aborted', at: begin + 9_000 },
    ]);
  });

  it('is converted a few large rows at a time', () => {
    const memory = storageOf('2');
    for (const [number, rejected] of Array.from({ length: 20 }, (_, at) => [at + 100, at % 2])) {
      memory.sql.exec(
        `INSERT INTO write SELECT ?, 9, 9, decided_at, record, zeroblob(900000), ?, digest, kept_until, ?
         FROM write WHERE idempotency_key = 'client::eight'`,
        ...[idOf(number ?? 0), rejected === 1 ? null : `client::${number}`, rejected ?? 0],
      );
    }
    const { exec } = memory.sql;
    let most = 0;
    const weighing: typeof exec = (text, ...values) => {
      const rows = exec<never>(text, ...values).toArray();
      const blobs = rows
        .flatMap((row) => Object.values(row))
        .filter((v) => v instanceof ArrayBuffer);
      most = Math.max(
        most,
        blobs.reduce((sum, blob) => sum + blob.byteLength, 0),
      );
      return Object.assign(rows.values(), { toArray: () => rows });
    };
    Object.assign(memory.sql, { exec: weighing });
    const { storage } = begun(memory);
    expect(most).toBeLessThanOrEqual(limits.rowsPerConversion * limits.rowBytes);
    expect(storage.recordedUnder('client::100', begin)?.record.part).toHaveLength(900_000);
  });
});
