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
