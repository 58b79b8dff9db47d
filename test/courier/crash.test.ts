import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Receiver, verified } from './receiver.ts';
import { patience, Rig, variables } from './rig.ts';

const name = 'cb_1';
let receiver: Receiver;

beforeEach(async () => {
  receiver = await Receiver.start();
});

afterEach(() => receiver.stop());

describe('a kill -9', () => {
  it('between the handover and the answer loses nothing: the same id comes again by itself', async () => {
    // No attempt is given up before the kill.
    const rig = await Rig.start({ ...variables, LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000' });
    try {
      receiver.answer = () => {};
      const ids = Array.from({ length: 12 }, (_, index) => `evt_${index}`);
      await rig.deliver(name, receiver, ids);
      await expect.poll(() => receiver.received.length, patience).toBe(limits.deliveriesInFlight);
      await rig.kill();
      receiver.answer = (response) => response.end();
      await rig.restart();
      // Nobody calls the courier: its alarm alone wakes it.
      await expect.poll(() => new Set(receiver.ids).size, patience).toBe(ids.length);
      const delivered = ids.map(() => 'delivered');
      await expect.poll(() => rig.states(name, ids), patience).toEqual(delivered);
      expect(receiver.ids).toHaveLength(ids.length + limits.deliveriesInFlight);
      for (const received of receiver.received) {
        expect(verified(received, receiver.secret)).toMatchObject({ data: { id: received.id } });
      }
    } finally {
      await rig.stop();
    }
  });
});

describe('a deployment', () => {
  it('that does not allow it never calls this machine, and says why in the log', async () => {
    const { LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: _, ...others } = variables;
    const deployed = await Rig.start(others);
    try {
      await deployed.deliver(name, receiver, ['evt_1']);
      await expect.poll(() => deployed.states(name, ['evt_1']), patience).toEqual(['failed']);
      const [record] = await deployed.deliveries(name);
      expect(record?.answer).toBe('The URL is not encrypted. Use https.');
      expect(receiver.received).toEqual([]);
    } finally {
      await deployed.stop();
    }
  });
});
