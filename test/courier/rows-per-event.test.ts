/**
 * Holds the rows that a courier writes per event. They are billed; docs/operate/costs.md computes with these figures.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { median } from '../bench/measure.ts';
import { CourierHarness, patience, variables } from './harness.ts';
import { Receiver } from './receiver.ts';

let harness: CourierHarness;
let receiver: Receiver;

beforeAll(async () => {
  harness = await CourierHarness.start(variables);
});

beforeEach(async () => {
  receiver = await Receiver.start();
});

afterEach(() => receiver.stop());

afterAll(() => harness?.stop(), 60_000);

/** The rows from the handover of an event until it is delivered. */
async function rowsOf(name: string, id: string, holdMs: number): Promise<number> {
  const before = await harness.rowsWritten(name);
  await harness.deliver(name, receiver, [id], holdMs);
  await expect.poll(() => harness.states(name, [id]), patience).toEqual(['delivered']);
  return (await harness.rowsWritten(name)) - before;
}

describe('a lone event', () => {
  const ids = Array.from({ length: 21 }, (_, index) => `evt_${index}`);

  it('writes one row if its endpoint responds within the hold', async () => {
    const rows: number[] = [];
    for (const id of ids) rows.push(await rowsOf('cb_held', id, limits.handoverHoldMs));
    // The median, because a slow moment of the machine may end a hold.
    expect(median(rows)).toBe(1);
  });

  it('writes a row with the handover and one with the outcome otherwise, besides its alarm', async () => {
    const rows: number[] = [];
    for (const id of ids) rows.push(await rowsOf('cb_at_once', id, 0));
    expect(median(rows)).toBe(2);
    expect(Math.max(...rows.slice(1))).toBeLessThanOrEqual(4);
  });
});
