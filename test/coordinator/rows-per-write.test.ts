import { describe, expect, it } from 'vitest';
import type { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
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

/**
 * The rows written per write, of 20 writes that are sent one after the other or `together`, and the rows to drop
 * them.
 */
function rowsPerWrite(together: boolean): { readonly written: number; readonly dropped: number } {
  const memory = new MemoryStorage();
  const { storage, stored } = begun(memory);
  const instance = new SingleInstance(regions, stored);
  const store = storing(instance, storage);
  const send = (first: number, count: number) => {
    const frames = Array.from({ length: count }, (_, index) => frameOf([`key:${first + index}`]));
    for (const frame of frames) instance.arrive(frame);
    instance.settle();
    store();
  };
  send(0, 1);
  const before = memory.rowsWritten;
  if (together) send(100, 20);
  else for (let number = 0; number < 20; number += 1) send(100 + number, 1);
  const written = (memory.rowsWritten - before) / 20;
  const beforeDropping = memory.rowsWritten;
  pruneAll(storage, instance.now + 100 * 86_400_000);
  return { written, dropped: (memory.rowsWritten - beforeDropping) / 21 };
}

describe('a write', () => {
  it('writes at most 18 rows if it comes alone, and 9 more are written to forget it', () => {
    const { written, dropped } = rowsPerWrite(false);
    expect(written).toBeLessThanOrEqual(18);
    expect(dropped).toBeLessThanOrEqual(9);
  });

  it('writes at most 13 rows if 20 come together', () => {
    expect(rowsPerWrite(true).written).toBeLessThanOrEqual(13);
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
