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

  it('writes at most three rows from its handover until it is delivered and forgotten', async () => {
    const forgetful = await CourierHarness.start({
      ...variables,
      LOCKSTEP_DELIVERIES_KEPT_MS: '2000',
    });
    try {
      const { url, secret } = receiver;
      const { signingKey } = forgetful;
      const rowsOfOne = async (name: string) => {
        // A subscription, since a target of callbacks is deleted as a whole.
        await forgetful.call(name, 'configure', { endpoint: name, url, secret, signingKey });
        const before = await forgetful.rowsWritten(name);
        const handover = { ...forgetful.handover(name, receiver, [name]), target: null };
        await forgetful.call(name, 'deliver', name, {
          ...handover,
          holdMs: limits.handoverHoldMs,
        });
        await expect.poll(() => receiver.attempts(name), patience).toBe(1);
        await expect.poll(() => forgetful.deliveries(name), patience).toEqual([]);
        return (await forgetful.rowsWritten(name)) - before;
      };
      const names = Array.from({ length: 9 }, (_, index) => `ep_${index}`);
      // The row itself, the alarm that wakes the courier to forget it, and its deletion.
      expect(median(await Promise.all(names.map(rowsOfOne)))).toBe(3);
    } finally {
      await forgetful.stop();
    }
  });

  it('writes a row with the handover and one with the outcome otherwise, besides its alarm', async () => {
    const rows: number[] = [];
    for (const id of ids) rows.push(await rowsOf('cb_at_once', id, 0));
    expect(median(rows)).toBe(2);
    expect(Math.max(...rows.slice(1))).toBeLessThanOrEqual(4);
  });
});
