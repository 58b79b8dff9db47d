/** Tests the deliveries and the endpoint in a courier's storage. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import {
  answered,
  courier,
  deliverAll,
  delivered,
  eventsOf,
  retried,
  wholePage,
} from './stored.ts';

describe('the storage of a courier', () => {
  it('prunes in slices, returns whether more is left, and keeps young records', () => {
    const storage = courier();
    const old = eventsOf(2_500);
    storage.add(old, 1);
    deliverAll(storage, old, 2);
    const young = eventsOf(3, 5_000);
    const now = 3 + limits.deliveriesKeptMs;
    storage.add(young, now);
    deliverAll(storage, young, now);
    expect([1, 2, 3].map(() => storage.prune(now))).toEqual([true, true, false]);
    const kept = storage.page(wholePage).deliveries.map(({ event }) => event);
    expect(kept).toEqual(['evt_5002', 'evt_5001', 'evt_5000']);
  });

  it('drops events that have waited too long at a disabled endpoint, and at no other', () => {
    const storage = courier();
    storage.add(eventsOf(2), 1);
    const now = 2 + limits.deliveriesKeptMs;
    storage.prune(now);
    const states = () => storage.page(wholePage).deliveries.map(({ state }) => state);
    expect(states()).toEqual(['waiting', 'waiting']);
    storage.disable('gone', now, true);
    storage.prune(now);
    expect(states()).toEqual(['failed', 'failed']);
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
    storage.add(eventsOf(2, 10), 5);
    storage.add(eventsOf(2), 3);
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
    storage.add(eventsOf(limits.eventsPerEndpoint), 1);
    const later = courier(memory);
    later.add(eventsOf(2, limits.eventsPerEndpoint), 2);
    const failed = later.page({ ...wholePage, state: 'failed' }).deliveries;
    expect(failed.map(({ event }) => event)).toEqual(['evt_1', 'evt_0']);
  });

  it('makes all waiting events due in order of arrival if the endpoint is enabled, and a second time writes nothing', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    const events = eventsOf(250);
    storage.add(events, 1);
    for (const { id } of events) storage.settle(id, answered, retried(1_000), 2);
    storage.enable(3);
    expect(storage.take(3, 250).map(({ event }) => event)).toEqual(events.map(({ id }) => id));
    const before = memory.rowsWritten;
    // The row of the endpoint, and no batch.
    storage.enable(4);
    expect(memory.rowsWritten - before).toBe(1);
    expect(courier(memory).take(3, 250)).toHaveLength(250);
  });

  it('replays the oldest deliveries first, up to a limit, and in a later life, too', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    const events = eventsOf(limits.deliveriesPerReplay + 5);
    storage.add(events, 1);
    deliverAll(storage, events, 2);
    storage.save();
    const later = courier(memory);
    expect(later.replay({ since: 4, delivered: false }, 5)).toBe(0);
    expect(later.replay({ since: 4, delivered: true }, 5)).toBe(limits.deliveriesPerReplay);
    const [first] = courier(memory).take(5, 1);
    expect(first).toEqual({ event: 'evt_3', body: '{}', step: 0 });
    expect(later.replay({ since: 4, delivered: true }, 6)).toBe(2);
  });

  it('pages through a state over many batches', () => {
    const storage = courier();
    const events = eventsOf(1_000);
    storage.add(events, 1);
    deliverAll(
      storage,
      events.filter((_, index) => index % 300 !== 7),
      2,
    );
    const seen: string[] = [];
    let before: number | null = null;
    do {
      const page = storage.page({ state: 'waiting', before, limit: 3 });
      seen.push(...page.deliveries.map(({ event }) => event));
      before = page.before;
    } while (before !== null);
    expect(seen).toEqual(['evt_907', 'evt_607', 'evt_307', 'evt_7']);
  });

  it('says that unsaved events are lost, though another operation is the one that fails', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    storage.add(eventsOf(1), 1);
    storage.settle('evt_0', answered, delivered, 1);
    storage.save();
    storage.addUnsaved(eventsOf(1, 1), 2);
    expect(storage.losses).toBe(0);
    memory.fails = (statement) => {
      if (statement.startsWith('UPDATE')) throw new Error('disk full');
    };
    expect(() => storage.replay({ event: 'evt_0' }, 3)).toThrow('disk full');
    memory.fails = () => {};
    expect(storage.losses).toBe(1);
    expect(storage.detail('evt_1')).toBeNull();
    expect(storage.detail('evt_0')).toMatchObject({ state: 'delivered' });
  });

  it('forgets events that it could not store, and keeps the rest', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    storage.add(eventsOf(1), 1);
    memory.fails = (statement) => {
      if (/^\s*(?:INSERT|UPDATE)/.test(statement)) throw new Error('disk full');
    };
    expect(() => storage.add(eventsOf(1, 1), 2)).toThrow('disk full');
    memory.fails = () => {};
    expect(storage.detail('evt_1')).toBeNull();
    expect(storage.detail('evt_0')).toMatchObject({ state: 'waiting', body: '{}' });
    storage.add(eventsOf(1, 1), 3);
    expect(courier(memory).detail('evt_1')).toMatchObject({ state: 'waiting' });
  });
});

describe('a delivery that has been taken', () => {
  it('is not taken again, though the storage was read again, until its attempt is settled', () => {
    const storage = courier();
    storage.add(eventsOf(2), 1);
    expect(storage.take(1, 1)).toHaveLength(1);
    storage.begin();
    expect(storage.take(1, 2).map(({ event }) => event)).toEqual(['evt_1']);
    storage.settle('evt_0', answered, retried(1), 1);
    expect(storage.take(1, 2).map(({ event }) => event)).toEqual(['evt_0']);
  });

  it('stays failed if it was given up meanwhile, unless it arrives', () => {
    const storage = courier();
    storage.add(eventsOf(2), 1);
    storage.take(1, 2);
    storage.disable('gone', 1, true);
    storage.prune(2 + limits.deliveriesKeptMs);
    storage.settle('evt_0', answered, retried(9), 3 + limits.deliveriesKeptMs);
    storage.settle('evt_1', answered, delivered, 3 + limits.deliveriesKeptMs);
    expect(storage.detail('evt_0')).toMatchObject({ state: 'failed', attempts: 0 });
    expect(storage.detail('evt_1')).toMatchObject({ state: 'delivered', attempts: 1 });
  });
});

describe('the attempts of a delivery', () => {
  it('are bounded in number and size: the newest stay', () => {
    const storage = courier();
    storage.add(eventsOf(1), 1);
    const answer = 'x'.repeat(limits.deliveryAnswerBytes);
    for (let attempt = 0; attempt < limits.attemptsKeptPerDelivery + 5; attempt += 1) {
      storage.settle('evt_0', { ...answered, answer, ms: attempt }, delivered, attempt);
    }
    const { history = [] } = storage.detail('evt_0') ?? {};
    expect(history).toHaveLength(limits.attemptsKeptPerDelivery);
    expect(history.map(({ ms }) => ms)[0]).toBe(5);
    expect(history[0]?.answer).toHaveLength(limits.attemptAnswerCharacters);
  });
});
