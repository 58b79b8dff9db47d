import { describe, expect, it } from 'vitest';
import { CourierStorage } from '../../functions/courier/storage.ts';
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome } from '../../shared/protocol/delivery.ts';
import type { OwedEvent } from '../../shared/wire/confirmations.ts';
import { MemoryStorage } from '../hooks/sqlite.ts';
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

function events(count: number, first = 0): readonly OwedEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    endpoint: 'cb_1',
    id: `evt_${first + index}`,
    type: 'write.committed',
    at: 1 + first + index,
    body: '{}',
  }));
}

function deliver(storage: CourierStorage, ids: readonly OwedEvent[], now: number): void {
  for (const { id } of ids) storage.settle(id, outcome, delivered, now);
}

describe('the storage of a courier', () => {
  it('prunes in slices, says whether more is left, and keeps what is young', () => {
    const storage = courier();
    const old = events(2_500);
    storage.add(old, 1);
    deliver(storage, old, 2);
    const young = events(3, 5_000);
    const now = 3 + limits.deliveriesKeptMs;
    storage.add(young, now);
    deliver(storage, young, now);
    expect([1, 2, 3].map(() => storage.prune(now, limits.deliveriesKeptMs))).toEqual([
      true,
      true,
      false,
    ]);
    const kept = storage.page(page).deliveries.map(({ event }) => event);
    expect(kept).toEqual(['evt_5002', 'evt_5001', 'evt_5000']);
  });

  it('gives up what has waited too long at an endpoint that is disabled, and nothing elsewhere', () => {
    const storage = courier();
    storage.add(events(2), 1);
    const now = 2 + limits.deliveriesKeptMs;
    storage.prune(now, limits.deliveriesKeptMs);
    expect(storage.page(page).deliveries.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
    storage.disable('gone', now, true);
    storage.prune(now, limits.deliveriesKeptMs);
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

  it('takes what is due the longest first, and leaves out what is on its way', () => {
    const storage = courier();
    storage.add(events(2, 10), 5);
    storage.add(events(2), 3);
    const due = (excluded: readonly string[]) =>
      storage.due(6, 2, new Set(excluded)).map(({ event }) => event);
    expect(due([])).toEqual(['evt_0', 'evt_1']);
    expect(due(['evt_0'])).toEqual(['evt_1', 'evt_10']);
    expect(storage.nextDueAt(new Set(['evt_0', 'evt_1']))).toBe(5);
  });

  it('gives up the oldest that wait beyond its bound, also in a later life', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    storage.add(events(limits.eventsPerEndpoint), 1);
    const later = courier(memory);
    later.add(events(2, limits.eventsPerEndpoint), 2);
    const failed = later.page({ ...page, state: 'failed' }).deliveries;
    expect(failed.map(({ event }) => event)).toEqual(['evt_1', 'evt_0']);
  });
});

/** The tables of release 0.1, with a delivery of each state. */
const release01 = `
  CREATE TABLE endpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, url TEXT NOT NULL, secret TEXT,
    previous_secret TEXT, previous_until INTEGER NOT NULL DEFAULT 0, private_key TEXT NOT NULL,
    failing_since INTEGER, rest_until INTEGER NOT NULL DEFAULT 0,
    disabled_at INTEGER, disabled_reason TEXT, told INTEGER NOT NULL DEFAULT 1
  );
  CREATE TABLE delivery (
    position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL UNIQUE, type TEXT NOT NULL, at INTEGER NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, due_at INTEGER, step INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, ms INTEGER, answer TEXT, last_attempt_at INTEGER
  );
  CREATE INDEX due ON delivery (due_at, position) WHERE state = 'waiting';
  CREATE INDEX ended ON delivery (since) WHERE state <> 'waiting';
  CREATE INDEX by_state ON delivery (state, position);
  INSERT INTO endpoint (one, id, url, secret, private_key) VALUES (1, 'cb_1', '${url}', 'whsec_old', '{}');
  INSERT INTO delivery (event, type, at, body, state, since, due_at) VALUES
    ('evt_0', 'write.committed', 1, '{}', 'waiting', 1, 1), ('evt_1', 'write.committed', 1, '', 'delivered', 1, NULL),
    ('evt_2', 'write.committed', 1, '{}', 'failed', 1, NULL);
`;

describe('the storage of a courier of release 0.1', () => {
  it('goes on: what waits is sent, and what has no payload any more is not sent again', () => {
    const memory = new MemoryStorage();
    memory.sql.exec(release01);
    const storage = new CourierStorage(memory);
    expect(storage.endpoint).toMatchObject({ id: 'cb_1', url, secret: 'whsec_old' });
    expect(storage.replay({ since: 0, delivered: true }, 5)).toBe(1);
    expect(storage.due(6, 9, new Set()).map(({ event }) => event)).toEqual(['evt_0', 'evt_2']);
    storage.settle('evt_0', outcome, delivered, 7);
    const history = [{ at: 7, status: 200, ms: 7, answer: 'taken' }];
    expect(storage.detail('evt_0')).toMatchObject({ state: 'delivered', body: '{}', history });
    expect(storage.detail('evt_1')).toMatchObject({ state: 'delivered', body: '', history: [] });
  });
});

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
