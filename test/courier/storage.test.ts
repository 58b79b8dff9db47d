/** Tests a courier's tables, and their migration from older releases. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CourierStorage, courierFormat } from '../../functions/courier/storage.ts';
import { UnknownStorageFormat } from '../../functions/platform/storage-form.ts';
import type { OutboxEvent } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome } from '../../shared/webhooks/retry-policy.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { newSigningKey } from './keys.ts';

const url = 'https://receiver.example.com/hook';
const outcome: AttemptOutcome = {
  kind: 'answered',
  status: 200,
  retryAfterMs: null,
  answer: 'taken',
  ms: 7,
};
const delivered = {
  state: 'delivered',
  nextAttemptAt: null,
  failingSince: null,
  restUntil: null,
  hostRestMs: 0,
  disable: null,
} as const;
const page = { state: null, before: null, limit: 100 } as const;

function courier(memory = new MemoryStorage()): CourierStorage {
  const storage = new CourierStorage(memory);
  storage.setTarget({ id: 'cb_1', url, secret: null, signingKey: newSigningKey() });
  return storage;
}

function events(count: number, first = 0): readonly OutboxEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    endpoint: 'cb_1',
    id: `evt_${first + index}`,
    type: 'write.committed',
    at: 1 + first + index,
    body: '{}',
  }));
}

function deliver(storage: CourierStorage, ids: readonly OutboxEvent[], now: number): void {
  for (const { id } of ids) storage.settle(id, outcome, delivered, now);
}

describe('the storage of a courier', () => {
  it('prunes in slices, returns whether more is left, and keeps young records', () => {
    const storage = courier();
    const old = events(2_500);
    storage.add(old, 1);
    deliver(storage, old, 2);
    const young = events(3, 5_000);
    const now = 3 + limits.deliveriesKeptMs;
    storage.add(young, now);
    deliver(storage, young, now);
    expect([1, 2, 3].map(() => storage.prune(now))).toEqual([true, true, false]);
    const kept = storage.page(page).deliveries.map(({ event }) => event);
    expect(kept).toEqual(['evt_5002', 'evt_5001', 'evt_5000']);
  });

  it('drops events that have waited too long at a disabled endpoint, and at no other', () => {
    const storage = courier();
    storage.add(events(2), 1);
    const now = 2 + limits.deliveriesKeptMs;
    storage.prune(now);
    expect(storage.page(page).deliveries.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
    storage.disable('gone', now, true);
    storage.prune(now);
    expect(storage.page(page).deliveries.map(({ state }) => state)).toEqual(['failed', 'failed']);
  });

  it('keeps the secret before a rotation that is sent twice', () => {
    const storage = courier();
    storage.rotate('whsec_one', 10);
    storage.rotate('whsec_two', 20);
    storage.rotate('whsec_two', 30);
    const { secret, previousSecret, previousUntil } = storage.endpoint ?? {};
    expect([secret, previousSecret, previousUntil]).toEqual(['whsec_two', 'whsec_one', 20]);
  });

  it('takes the events that have been due the longest, without those in progress', () => {
    const storage = courier();
    storage.add(events(2, 10), 5);
    storage.add(events(2), 3);
    const take = (count: number) => storage.take(6, count).map(({ event }) => event);
    expect(take(1)).toEqual(['evt_0']);
    expect(storage.nextDueAt).toBe(3);
    expect(take(2)).toEqual(['evt_1', 'evt_10']);
    expect(storage.nextDueAt).toBe(5);
    expect(take(2)).toEqual(['evt_11']);
    expect(storage.nextDueAt).toBeNull();
  });

  it('drops the oldest waiting events above its limit, even in a later life', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    storage.add(events(limits.eventsPerEndpoint), 1);
    const later = courier(memory);
    later.add(events(2, limits.eventsPerEndpoint), 2);
    const failed = later.page({ ...page, state: 'failed' }).deliveries;
    expect(failed.map(({ event }) => event)).toEqual(['evt_1', 'evt_0']);
  });
});

describe('the storage of a courier of release 0.1', () => {
  it('stays in use: waiting events are sent, and events without a payload are not sent again', () => {
    const memory = new MemoryStorage();
    memory.sql.exec(readFileSync('test/storage-formats/courier-0.1.sql', 'utf8'));
    const storage = new CourierStorage(memory);
    expect(storage.endpoint).toMatchObject({ id: 'cb_1', url, secret: 'whsec_old' });
    expect(storage.replay({ since: 0, delivered: true }, 5)).toBe(1);
    expect(storage.take(6, 9).map(({ event }) => event)).toEqual(['evt_0', 'evt_2']);
    storage.settle('evt_0', outcome, delivered, 7);
    const history = [{ at: 7, status: 200, ms: 7, answer: 'taken' }];
    expect(storage.detail('evt_0')).toMatchObject({ state: 'delivered', body: '{}', history });
    expect(storage.detail('evt_1')).toMatchObject({ state: 'delivered', body: '', history: [] });
  });

  it('is migrated to the format of this release once: later lives write nothing', () => {
    const memory = new MemoryStorage();
    memory.sql.exec(readFileSync('test/storage-formats/courier-0.1.sql', 'utf8'));
    void new CourierStorage(memory);
    expect(formatIn(memory)).toEqual([{ value: courierFormat }]);
    memory.fails = (statement) => {
      if (/^\s*(?:INSERT|UPDATE|DELETE|ALTER)/.test(statement)) throw new Error(statement);
    };
    expect(new CourierStorage(memory).endpoint).toMatchObject({ id: 'cb_1' });
  });

  it('is unchanged if the life that migrates it ends before it is done', () => {
    const memory = new MemoryStorage();
    memory.sql.exec(readFileSync('test/storage-formats/courier-0.1.sql', 'utf8'));
    memory.fails = (statement) => {
      if (statement.includes("'format', ?")) throw new Error('the life ends here');
    };
    expect(() => new CourierStorage(memory)).toThrow('the life ends here');
    memory.fails = () => {};
    expect(new CourierStorage(memory).replay({ since: 0, delivered: true }, 5)).toBe(1);
  });
});

describe('the storage of a courier of a later release', () => {
  it('is refused, and unchanged', () => {
    const memory = new MemoryStorage();
    courier(memory).add(events(1), 1);
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

function formatIn(memory: MemoryStorage) {
  return memory.sql.exec("SELECT value FROM meta WHERE name = 'format'").toArray();
}

describe('the attempts of a delivery', () => {
  it('are bounded in number and size: the newest stay', () => {
    const storage = courier();
    storage.add(events(1), 1);
    const answer = 'x'.repeat(limits.deliveryAnswerBytes);
    for (let attempt = 0; attempt < limits.attemptsKeptPerDelivery + 5; attempt += 1) {
      storage.settle('evt_0', { ...outcome, answer, ms: attempt }, delivered, attempt);
    }
    const { history = [] } = storage.detail('evt_0') ?? {};
    expect(history).toHaveLength(limits.attemptsKeptPerDelivery);
    expect(history.map(({ ms }) => ms)[0]).toBe(5);
    expect(history[0]?.answer).toHaveLength(limits.attemptAnswerCharacters);
  });
});
