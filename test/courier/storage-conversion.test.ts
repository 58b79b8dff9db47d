/** Tests that a courier reads the storage of earlier formats, and refuses that of later ones. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { StorageBeingConverted } from '../../functions/courier/conversion.ts';
import { CourierStorage, courierFormat } from '../../functions/courier/storage.ts';
import { UnknownStorageFormat } from '../../functions/platform/storage-form.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { answered, courier, delivered, eventsOf, url, wholePage } from './stored.ts';

const formats = { '0.1': 'courier-0.1.sql', '2': 'courier-2.sql' } as const;

function storedAs(format: keyof typeof formats): MemoryStorage {
  const memory = new MemoryStorage();
  memory.sql.exec(readFileSync(`test/storage-formats/${formats[format]}`, 'utf8'));
  return memory;
}

function formatIn(memory: MemoryStorage) {
  return memory.sql.exec("SELECT value FROM meta WHERE name = 'format'").toArray();
}

describe('the storage of a courier of release 0.1', () => {
  it('stays in use: waiting events are sent, and events without a payload are not sent again', () => {
    const storage = new CourierStorage(storedAs('0.1'));
    expect(storage.endpoint).toMatchObject({ id: 'cb_1', url, secret: 'whsec_old' });
    expect(storage.replay({ since: 0, delivered: true }, 5)).toBe(1);
    expect(storage.take(6, 9).map(({ event }) => event)).toEqual(['evt_0', 'evt_2']);
    storage.settle('evt_0', answered, delivered, 7);
    const history = [{ at: 7, status: 200, ms: 7, answer: 'taken' }];
    expect(storage.detail('evt_0')).toMatchObject({ state: 'delivered', body: '{}', history });
    expect(storage.detail('evt_1')).toMatchObject({ state: 'delivered', body: '', history: [] });
  });
});

describe('the storage of a courier of format 2', () => {
  it('stays in use: states, attempts, payloads and the order of the log are kept', () => {
    const storage = new CourierStorage(storedAs('2'));
    expect(storage.endpoint).toMatchObject({ secret: 'whsec_old', failingSince: 3 });
    const log = storage.page(wholePage).deliveries;
    expect(log.map(({ event, state }) => [event, state])).toEqual([
      ['evt_3', 'failed'],
      ['evt_2', 'waiting'],
      ['evt_1', 'delivered'],
      ['evt_0', 'waiting'],
    ]);
    expect(storage.take(6, 9)).toEqual([{ event: 'evt_0', body: '{"new":"ü"}', step: 0 }]);
    expect(storage.nextDueAt).toBe(90);
    expect(storage.detail('evt_2')).toEqual({
      ...{ event: 'evt_2', type: 'write.aborted', at: 3, state: 'waiting', body: '{"id":2}' },
      ...{ attempts: 1, status: null, ms: 5, answer: 'no connection', lastAttemptAt: 3 },
      nextAttemptAt: 90,
      history: [{ at: 3, status: null, ms: 5, answer: 'no connection' }],
    });
  });

  it('takes none of its events a second time', () => {
    const storage = new CourierStorage(storedAs('2'));
    storage.add(eventsOf(5), 9);
    expect(storage.page(wholePage).deliveries.map(({ event }) => event)).toEqual([
      ...['evt_4', 'evt_3', 'evt_2', 'evt_1', 'evt_0'],
    ]);
  });
});

describe.each(['0.1', '2'] as const)('the storage of a courier of format %s', (format) => {
  it('is converted once: later lives write nothing', () => {
    const memory = storedAs(format);
    void new CourierStorage(memory);
    expect(formatIn(memory)).toEqual([{ value: courierFormat }]);
    const converted = new CourierStorage(memory).page(wholePage);
    memory.fails = (statement) => {
      if (/^\s*(?:INSERT|UPDATE|DELETE|ALTER|DROP)/.test(statement)) throw new Error(statement);
    };
    const later = new CourierStorage(memory);
    expect(later.endpoint).toMatchObject({ id: 'cb_1' });
    expect(later.page(wholePage)).toEqual(converted);
  });

  it.each(["'format', ?", 'INSERT INTO batch', 'DROP TABLE'])(
    'is unchanged if the life that converts it ends at %s',
    (end) => {
      const memory = storedAs(format);
      const before = memory.sql.exec('SELECT * FROM delivery').toArray();
      memory.fails = (statement) => {
        if (statement.includes(end)) throw new Error('the life ends here');
      };
      expect(() => new CourierStorage(memory)).toThrow('the life ends here');
      memory.fails = () => {};
      expect(memory.sql.exec('SELECT * FROM delivery').toArray()).toEqual(before);
      expect(new CourierStorage(memory).replay({ since: 0, delivered: false }, 5)).toBe(1);
    },
  );
});

describe('a large storage of an earlier format', () => {
  /** Adds `count` waiting deliveries after those of the fixture. */
  function filled(count: number, body: string): MemoryStorage {
    const memory = storedAs('2');
    memory.sql.exec(
      `INSERT INTO delivery (event, type, at, body, state, since, due_at)
       WITH RECURSIVE number (n) AS (SELECT 4 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
       SELECT 'evt_' || n, 'write.committed', n, ?, 'waiting', 5, 5 FROM number`,
      ...[3 + count, body],
    );
    return memory;
  }

  /** The attempts to begin until the conversion is done. */
  function begins(memory: MemoryStorage): number {
    for (let count = 1; ; count += 1) {
      try {
        void new CourierStorage(memory);
        return count;
      } catch (error) {
        expect(error).toBeInstanceOf(StorageBeingConverted);
      }
    }
  }

  it('is converted by several attempts to begin, of bounded work each, and in order', () => {
    const memory = filled(2.5 * limits.deliveriesConvertedAtOnce, '{}');
    expect(begins(memory)).toBe(3);
    const storage = new CourierStorage(memory);
    const count = 2.5 * limits.deliveriesConvertedAtOnce + 4;
    const newest = storage.page({ ...wholePage, limit: 2 }).deliveries;
    expect(newest.map(({ event }) => event)).toEqual([`evt_${count - 1}`, `evt_${count - 2}`]);
    expect(storage.take(6, 3).map(({ event }) => event)).toEqual(['evt_0', 'evt_4', 'evt_5']);
  });

  it('is converted with bounded memory if its payloads are large', () => {
    const bytes = 1_900_000;
    const memory = filled(15, 'x'.repeat(bytes));
    expect(begins(memory)).toBe(Math.ceil((15 * bytes) / limits.bytesConvertedAtOnce));
    const storage = new CourierStorage(memory);
    expect(storage.detail('evt_18')?.body).toHaveLength(bytes);
  });

  it('is refused by a release that knows only the earlier format while it is being converted', () => {
    const memory = filled(2 * limits.deliveriesConvertedAtOnce, '{}');
    expect(() => new CourierStorage(memory)).toThrow(StorageBeingConverted);
    expect(formatIn(memory)).toEqual([{ value: courierFormat }]);
  });
});

describe('the storage of a courier of a later release', () => {
  it('is refused, and unchanged', () => {
    const memory = new MemoryStorage();
    courier(memory).add(eventsOf(1), 1);
    memory.sql.exec("UPDATE meta SET value = 99 WHERE name = 'format'");
    memory.sql.exec('ALTER TABLE batch RENAME TO batches');
    const stored = () => memory.sql.exec('SELECT sql FROM sqlite_master').toArray();
    const before = stored();
    expect(() => new CourierStorage(memory)).toThrow(UnknownStorageFormat);
    expect(stored()).toEqual(before);
    expect(formatIn(memory)).toEqual([{ value: 99 }]);
  });

  it('is refused even if it contains no table of this release', () => {
    const memory = new MemoryStorage();
    courier(memory);
    memory.sql.exec("UPDATE meta SET value = 99 WHERE name = 'format'");
    memory.sql.exec('DROP TABLE endpoint');
    expect(() => new CourierStorage(memory)).toThrow(UnknownStorageFormat);
  });
});
