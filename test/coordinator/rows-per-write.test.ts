import { describe, expect, it } from 'vitest';
import type { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { SingleInstance } from '../simulation/single-instance.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, pruneAll } from './stored.ts';

/**
 * Rows written to the coordinator's storage are billed. docs/operate/costs.md computes with the figures held here;
 * rows of indexes count, as the platform bills them.
 */

const regions = ['near', 'middle', 'far'];

/** Stores the writes of all steps since the last call. */
function storing(instance: SingleInstance, storage: CoordinatorStorage): () => void {
  let persisted = 0;
  return () => {
    for (const step of instance.steps.slice(persisted)) storage.write(step.persist);
    persisted = instance.steps.length;
  };
}

/** A life on an empty storage, whose regions know it, and a way to send it writes and to count their rows. */
function counted() {
  const memory = new MemoryStorage();
  const { storage, stored } = begun(memory);
  const instance = new SingleInstance(regions, stored);
  const store = storing(instance, storage);
  let sent = 0;
  const send = (count: number, given: Partial<WriteFrame> = {}) => {
    const frames = Array.from({ length: count }, () => {
      sent += 1;
      return frameOf([`key:${sent}`], { notAfter: instance.now + 10_000, ...given });
    });
    for (const frame of frames) instance.arrive(frame);
    instance.settle();
    store();
  };
  send(1);
  const rowsOf = (work: () => void) => {
    const before = memory.rowsWritten;
    work();
    return memory.rowsWritten - before;
  };
  return { instance, storage, store, send, rowsOf };
}

describe('a write', () => {
  it('writes one row for its decision and one for its confirmation, and as many are written to forget it', () => {
    const { instance, storage, send, rowsOf } = counted();
    const written = rowsOf(() => {
      for (let number = 0; number < 20; number += 1) send(1);
    });
    expect(written).toBe(2 * 20);
    const dropped = rowsOf(() => pruneAll(storage, instance.now + 100 * 86_400_000));
    // With the two rows of the horizon.
    expect(dropped).toBeLessThanOrEqual(2 * 21 + 2);
  });

  it('writes 4 rows if the coordinator was at rest before it, and is after it', () => {
    const { instance, store, send, rowsOf } = counted();
    const rest = () => {
      instance.advance(2 * limits.restAfterMs);
      instance.executeAll();
      store();
    };
    rest();
    const written = rowsOf(() => {
      send(1);
      rest();
    });
    expect(written).toBe(4);
  });

  it('writes 2 rows more if it has an idempotency key: one is of an index', () => {
    const { send, rowsOf } = counted();
    expect(rowsOf(() => send(1, { idempotency: { key: 't::1', digest: 'd' } }))).toBe(2 + 2);
  });

  it('shares its row with the others of its transaction', () => {
    const { send, rowsOf } = counted();
    expect(rowsOf(() => send(256))).toBeLessThanOrEqual(0.1 * 256);
  });
});

describe('a lease', () => {
  it('writes a row per renewal, and is renewed at most 45 times per minute', () => {
    const memory = new MemoryStorage();
    const { storage, stored } = begun(memory);
    const instance = new SingleInstance(regions, stored);
    const store = storing(instance, storage);
    instance.arrive(frameOf(['key']));
    instance.settle();
    // The coordinator becomes idle, and stores that.
    instance.advance(2 * limits.restAfterMs);
    instance.executeAll();
    store();
    const before = memory.rowsWritten;
    let rounds = 0;
    for (let tenths = 0; tenths < 600; tenths += 1) {
      if (tenths % 50 === 0) instance.requestLease('near', limits.leaseReadersMinMs);
      instance.advance(100);
      rounds += instance.flights.length;
      instance.executeAll();
      store();
    }
    expect(rounds).toBeGreaterThan(10);
    expect(rounds).toBeLessThanOrEqual(45);
    expect(memory.rowsWritten - before).toBeLessThanOrEqual(rounds);
  });
});
