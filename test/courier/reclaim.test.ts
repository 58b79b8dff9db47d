/** Tests that a courier deletes its storage when it no longer needs it, and not before. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CourierHarness, patience, variables } from './harness.ts';
import { Receiver } from './receiver.ts';

let harness: CourierHarness;
let receiver: Receiver;

beforeAll(async () => {
  harness = await CourierHarness.start({ ...variables, LOCKSTEP_DELIVERIES_KEPT_MS: '700' });
  receiver = await Receiver.start();
});

afterAll(async () => {
  await receiver?.stop();
  await harness?.stop();
}, 60_000);

describe('a courier', () => {
  it('stores nothing for a query', async () => {
    expect(await harness.deliveries('cb_unknown')).toEqual([]);
    expect(await harness.call('cb_unknown', 'delivery', 'evt_1')).toBeNull();
    expect(await harness.call('cb_unknown', 'replay', { event: 'evt_1' })).toBe(0);
    await harness.call('cb_unknown', 'enable');
    await harness.call('ep_unknown', 'remove');
    const handover = { ...harness.handover('ep_unknown', receiver, ['evt_1']), target: null };
    await harness.call('ep_unknown', 'deliver', 'ep_unknown', handover);
    expect(harness.storedTables()).toEqual([]);
  });

  it('of callbacks deletes everything after its log has ended, and starts again with the next event', async () => {
    for (const life of [1, 2]) {
      await harness.deliver('cb_idle', receiver, [`evt_${life}`]);
      await expect.poll(() => receiver.attempts(`evt_${life}`), patience).toBe(1);
      await expect.poll(() => harness.storedTables(), patience).toEqual([]);
    }
    expect(await harness.deliveries('cb_idle')).toEqual([]);
  });

  it('stays disabled, and keeps the target of a subscription', async () => {
    receiver.answer = (response) => {
      response.statusCode = 410;
      response.end();
    };
    await harness.deliver('cb_gone', receiver, ['evt_gone']);
    const { signingKey } = harness;
    const { url, secret } = receiver;
    await harness.call('ep_kept', 'configure', { endpoint: 'ep_kept', url, secret, signingKey });
    // By then an idle courier that was started later has come and gone.
    await expect.poll(() => receiver.attempts('evt_gone'), patience).toBe(1);
    await expect.poll(() => harness.deliveries('cb_gone'), patience).toEqual([]);
    receiver.answer = (response) => response.end();
    await harness.deliver('cb_later', receiver, ['evt_later']);
    await expect.poll(() => harness.storedTables().length, patience).toBe(3);
    await expect.poll(() => harness.storedTables().length, patience).toBe(2);
    await harness.deliver('cb_gone', receiver, ['evt_gone_2']);
    const handover = { ...harness.handover('ep_kept', receiver, ['evt_kept']), target: null };
    await harness.call('ep_kept', 'deliver', 'ep_kept', handover);
    await expect.poll(() => receiver.attempts('evt_kept'), patience).toBe(1);
    expect(receiver.attempts('evt_gone_2')).toBe(0);
  });
});
