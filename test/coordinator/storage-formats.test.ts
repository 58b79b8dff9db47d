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
