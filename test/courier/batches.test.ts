/** Tests the rows that a courier writes and reads: their number, their size, and that a backlog adds none. */
import process from 'node:process';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { SqlValue } from '../../functions/coordinator/storage/sql.ts';
import { CourierStorage } from '../../functions/courier/storage.ts';
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

/** A storage that counts statements, and the rows that they return. */
function countedMemory() {
  const memory = new MemoryStorage();
  const counts = { statements: 0, rows: 0 };
  const exec = memory.sql.exec;
  memory.sql.exec = <Row extends Record<string, SqlValue>>(text: string, ...values: SqlValue[]) => {
    const cursor = exec<Row>(text, ...values);
    counts.statements += 1;
    counts.rows += cursor.toArray().length;
    return cursor;
  };
  /** The statements, and the rows read and written, of a piece of work. */
  const costOf = (work: () => void) => {
    const before = { ...counts, written: memory.rowsWritten };
    work();
    return {
      statements: counts.statements - before.statements,
      read: counts.rows - before.rows,
      written: memory.rowsWritten - before.written,
    };
  };
  return { memory, costOf };
}

describe('an event', () => {
  it('of a full handover writes a fraction of a row until it is delivered and forgotten', () => {
    const { memory, costOf } = countedMemory();
    const storage = courier(memory);
    const handover = () => storage.add(eventsOf(limits.eventsPerHandover), 1);
    expect(costOf(handover).written).toBe(1);
    const { written } = costOf(() => {
      for (let taken = storage.take(2, 4); taken.length > 0; taken = storage.take(2, 4)) {
        for (const { event } of taken) storage.settle(event, answered, delivered, 2);
        if (storage.unsavedAttempts >= limits.attemptsPerSave) storage.save();
      }
      storage.save();
    });
    expect(written).toBe(Math.ceil(limits.eventsPerHandover / 28));
    expect(costOf(() => storage.prune(2 + limits.deliveriesKeptMs)).written).toBe(1);
    expect(storage.isEmpty).toBe(true);
  });

  it('that comes alone writes a row with its handover, one with its outcome, and shares the row of its deletion', () => {
    const { memory, costOf } = countedMemory();
    const storage = courier(memory);
    const body = JSON.stringify({ data: 'x'.repeat(300) });
    const { written } = costOf(() => {
      for (const [index, event] of eventsOf(50, 0, body).entries()) {
        storage.add([event], 1 + index);
        deliverAll(
          storage,
          storage.take(60, 1).map(({ event: id }) => ({ ...event, id })),
          60,
        );
        storage.save();
      }
    });
    expect(written).toBe(100);
    expect(costOf(() => storage.prune(60 + limits.deliveriesKeptMs)).written).toBe(1);
  });

  it('that is delivered before it is stored writes one row', () => {
    const { memory, costOf } = countedMemory();
    const storage = courier(memory);
    storage.add(eventsOf(1), 1);
    const { written } = costOf(() => {
      storage.addUnsaved(eventsOf(1, 1), 2);
      for (const { event } of storage.take(2, 2)) storage.settle(event, answered, delivered, 2);
      storage.save();
    });
    expect(written).toBe(1);
    expect(courier(memory).detail('evt_1')).toMatchObject({ state: 'delivered', body: '{}' });
  });

  it('does not join a row whose deliveries are deleted much earlier', () => {
    const storage = courier();
    storage.add(eventsOf(1), 0);
    const later = limits.deliveriesKeptMs / 7 + 1;
    storage.add(eventsOf(1, 1), later);
    deliverAll(storage, eventsOf(1), 1);
    deliverAll(storage, eventsOf(1, 1), later);
    storage.prune(limits.deliveriesKeptMs + 1);
    expect(storage.page(wholePage).deliveries.map(({ event }) => event)).toEqual(['evt_1']);
  });
});

describe('the rows of a courier', () => {
  it('stay below the platform’s bound, however large the events and the responses are', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    const large = { id: 'evt_large', body: JSON.stringify('ü'.repeat(limits.eventKeysBytes / 2)) };
    const [event] = eventsOf(1);
    if (event === undefined) throw new Error('there is one');
    storage.add([{ ...event, ...large }], 1);
    const many = eventsOf(limits.eventsPerHandover, 0, JSON.stringify('€'.repeat(10_000)));
    storage.add(many, 1);
    const answer = '\\"€'.repeat(limits.deliveryAnswerBytes / 5);
    const ids = [...many.map(({ id }) => id), large.id];
    for (let attempt = 0; attempt < limits.attemptsKeptPerDelivery; attempt += 1) {
      for (const id of ids) storage.settle(id, { ...answered, answer }, retried(attempt), attempt);
      storage.save();
    }
    const later = courier(memory);
    expect(later.detail('evt_99')).toMatchObject({ body: many[0]?.body, answer });
    expect(later.detail('evt_large')).toMatchObject({ body: large.body, attempts: 20 });
    const [{ rows } = { rows: 0 }] = memory.sql
      .exec<{ rows: number }>('SELECT count(*) AS rows FROM batch')
      .toArray();
    expect(rows).toBe(1 + Math.ceil(limits.eventsPerHandover / 16));
  });

  it('keep fewer attempts of each delivery if all of them would not fit', () => {
    const memory = new MemoryStorage();
    const storage = courier(memory);
    const events = eventsOf(limits.eventsPerHandover, 0, 'x'.repeat(5_000));
    storage.add(events, 1);
    const answer = '\u0001'.repeat(limits.deliveryAnswerBytes);
    for (let attempt = 0; attempt < limits.attemptsKeptPerDelivery; attempt += 1) {
      for (const { id } of events) {
        storage.settle(id, { ...answered, answer, ms: attempt }, retried(attempt), attempt);
      }
    }
    storage.save();
    const { history = [], attempts } = courier(memory).detail('evt_42') ?? {};
    expect(attempts).toBe(limits.attemptsKeptPerDelivery);
    expect(history.map(({ ms }) => ms).at(-1)).toBe(limits.attemptsKeptPerDelivery - 1);
    expect(history.length).toBeLessThan(limits.attemptsKeptPerDelivery);
    expect(history.length).toBeGreaterThan(0);
  });
});

describe('an attempt', () => {
  /** The cost of an attempt that fails, and one that succeeds, after `backlog` events have come to wait. */
  function costs(backlog: number) {
    const { memory, costOf } = countedMemory();
    const first = courier(memory);
    // They wait for later attempts, as the events of an endpoint that fails do.
    for (let start = 0; start < backlog; start += limits.eventsPerHandover) {
      const events = eventsOf(limits.eventsPerHandover, start);
      first.add(events, 1);
      for (const { id } of events) first.settle(id, answered, retried(1_000_000 + start), 1);
      first.save();
    }
    const storage = new CourierStorage(memory);
    storage.add(eventsOf(limits.eventsPerHandover, 1_000_000, 'x'.repeat(300)), 2);
    const attempt = (judgement: typeof delivered) =>
      costOf(() => {
        for (const { event } of storage.take(3, 1)) storage.settle(event, answered, judgement, 3);
        storage.save();
        expect(storage.nextDueAt).toBe(2);
      });
    return { failed: attempt(retried(9_000_000)), succeeded: attempt(delivered) };
  }

  it('reads and writes the same rows if 12,000 events wait as if none waits', () => {
    const alone = costs(0);
    // Its payload is read, and its state written.
    expect(alone.succeeded).toEqual({ statements: 2, read: 1, written: 1 });
    expect(costs(12_000)).toEqual(alone);
  });

  it('of the oldest of 12,000 waiting events reads its states and its payload', () => {
    const { memory, costOf } = countedMemory();
    courier(memory).add(eventsOf(12_000), 1);
    const storage = new CourierStorage(memory);
    const take = () =>
      expect(storage.take(2, 1)).toEqual([{ event: 'evt_0', body: '{}', step: 0 }]);
    expect(costOf(take)).toEqual({ statements: 2, read: 2, written: 0 });
  });
});

describe('a life', () => {
  it('takes a few bytes of memory per event that waits', () => {
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const heapBytes = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const memory = new MemoryStorage();
    courier(memory).add(eventsOf(limits.eventsPerEndpoint, 0, 'x'.repeat(300)), 1);
    const before = heapBytes();
    const storage = new CourierStorage(memory);
    expect(heapBytes() - before).toBeLessThan(100 * limits.eventsPerEndpoint);
    expect(storage.nextDueAt).toBe(1);
  });

  it('begins with one row read per batch, and writes nothing', () => {
    const { memory, costOf } = countedMemory();
    courier(memory).add(eventsOf(12_000), 1);
    const { read, written } = costOf(() => void new CourierStorage(memory));
    expect(read).toBeLessThanOrEqual(12_000 / limits.eventsPerHandover + 5);
    expect(written).toBe(0);
  });
});
