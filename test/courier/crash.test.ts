/** Kills a courier's runtime during deliveries, and deploys releases over newer storage. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CourierHarness, patience, variables } from './harness.ts';
import { Receiver, verified } from './receiver.ts';

const name = 'cb_1';
let receiver: Receiver;

beforeEach(async () => {
  receiver = await Receiver.start();
});

afterEach(() => receiver.stop());

describe('a kill -9', () => {
  it('between the handover and the response loses nothing: the same id is sent again without a call', async () => {
    // No attempt times out before the kill.
    const harness = await CourierHarness.start({
      ...variables,
      LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000',
    });
    try {
      receiver.answer = () => {};
      const ids = Array.from({ length: 12 }, (_, index) => `evt_${index}`);
      await harness.deliver(name, receiver, ids);
      await expect.poll(() => receiver.received.length, patience).toBe(limits.deliveriesInFlight);
      await harness.kill();
      receiver.answer = (response) => response.end();
      await harness.restart();
      // No call reaches the courier: its alarm alone wakes it.
      await expect.poll(() => new Set(receiver.ids).size, patience).toBe(ids.length);
      const delivered = ids.map(() => 'delivered');
      await expect.poll(() => harness.states(name, ids), patience).toEqual(delivered);
      expect(receiver.ids).toHaveLength(ids.length + limits.deliveriesInFlight);
      for (const received of receiver.received) {
        expect(verified(received, receiver.secret)).toMatchObject({ data: { id: received.id } });
      }
    } finally {
      await harness.stop();
    }
  });
});

describe('a kill -9 while a handover waits for the outcome of its events', () => {
  it('leaves nothing stored and nothing acknowledged, so the coordinator hands the events over again', async () => {
    const harness = await CourierHarness.start({
      ...variables,
      LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000',
    });
    try {
      const ids = ['evt_1', 'evt_2'];
      await harness.deliver(name, receiver, ['evt_0']);
      await expect.poll(() => harness.states(name, ['evt_0']), patience).toEqual(['delivered']);
      // The kill comes with the first of the requests, which is sent before anything is stored.
      const killed = new Promise<void>((resolve) => {
        receiver.answer = () => resolve(harness.kill());
      });
      const handover = harness.deliver(name, receiver, ids, limits.handoverHoldMs);
      const isAcknowledged = handover.then(
        () => true,
        () => false,
      );
      await killed;
      receiver.answer = (response) => response.end();
      await harness.restart();
      // Unless the hold ended before the kill, which a slow machine may do.
      const stored = await harness.states(name, ids);
      if (!(await isAcknowledged)) expect(stored).toEqual([undefined, undefined]);
      await harness.deliver(name, receiver, ids, limits.handoverHoldMs);
      const delivered = ['delivered', 'delivered'];
      await expect.poll(() => harness.states(name, ids), patience).toEqual(delivered);
      expect(receiver.attempts('evt_0')).toBe(1);
    } finally {
      await harness.stop();
    }
  });

  it('loses nothing after the end of the wait: the events are sent again without a call', async () => {
    const harness = await CourierHarness.start({
      ...variables,
      LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000',
    });
    try {
      receiver.answer = () => {};
      const ids = ['evt_1', 'evt_2'];
      // It is acknowledged although the endpoint does not respond.
      await harness.deliver(name, receiver, ids, limits.handoverHoldMs);
      await harness.kill();
      expect(receiver.ids.toSorted()).toEqual(ids);
      receiver.answer = (response) => response.end();
      await harness.restart();
      const delivered = ['delivered', 'delivered'];
      await expect.poll(() => receiver.ids.length, patience).toBe(4);
      await expect.poll(() => harness.states(name, ids), patience).toEqual(delivered);
    } finally {
      await harness.stop();
    }
  });
});

describe('a deployment', () => {
  it('of a release older than the storage changes nothing, and the next release continues', async () => {
    const harness = await CourierHarness.start({
      ...variables,
      LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000',
    });
    try {
      receiver.answer = () => {};
      await harness.deliver(name, receiver, ['evt_1']);
      await expect.poll(() => receiver.received.length, patience).toBe(1);
      await harness.kill();
      const setFormat = (format: string) =>
        harness.change(`UPDATE meta SET value = ${format} WHERE name = 'format'`);
      setFormat('value + 90');
      await harness.restart();
      await expect(harness.deliver(name, receiver, ['evt_2'])).rejects.toThrow(
        /UnfitVersion: the courier's storage has format 9\d, and this release reads up to/,
      );
      await expect(harness.call(name, 'remove')).rejects.toThrow('UnfitVersion');
      await expect.poll(() => harness.log, patience).toContain('a courier cannot read its storage');
      expect(receiver.received).toHaveLength(1);
      await harness.kill();
      setFormat('value - 90');
      receiver.answer = (response) => response.end();
      await harness.restart();
      await harness.deliver(name, receiver, ['evt_2']);
      const delivered = ['delivered', 'delivered'];
      await expect
        .poll(() => harness.states(name, ['evt_1', 'evt_2']), patience)
        .toEqual(delivered);
    } finally {
      await harness.stop();
    }
  });

  it('over a large storage of the format before refuses calls until all of it is converted, and then continues', async () => {
    const harness = await CourierHarness.start(variables);
    try {
      await harness.deliver(name, receiver, ['evt_new']);
      await expect.poll(() => harness.states(name, ['evt_new']), patience).toEqual(['delivered']);
      await harness.kill();
      const count = 2 * limits.deliveriesConvertedAtOnce + 5;
      harness.change('DROP TABLE batch');
      harness.change(`CREATE TABLE delivery (
        position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL UNIQUE, type TEXT NOT NULL, at INTEGER NOT NULL,
        body TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, due_at INTEGER,
        step INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, ms INTEGER, answer TEXT,
        last_attempt_at INTEGER, history TEXT NOT NULL DEFAULT '[]')`);
      harness.change(`INSERT INTO delivery (event, type, at, body, state, since, due_at)
        WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < ${count - 1})
        SELECT 'evt_' || n, 'write.committed', n, '{}', iif(n % 10000 = 0, 'waiting', 'delivered'),
        ${Date.now()}, iif(n % 10000 = 0, n, NULL) FROM number`);
      harness.change("UPDATE meta SET value = 2 WHERE name = 'format'");
      await harness.restart();
      const tries: string[] = [];
      await expect
        .poll(async () => {
          const tried = harness.deliver(name, receiver, ['evt_last']);
          tries.push(await tried.then(() => 'taken').catch(String));
          return tries.at(-1);
        }, patience)
        .toBe('taken');
      expect(tries.slice(0, -1).every((one) => one.includes('are being converted'))).toBe(true);
      const ids = ['evt_0', 'evt_10000', 'evt_20000', 'evt_last'];
      await expect
        .poll(() => new Set(receiver.ids), patience)
        .toEqual(new Set(['evt_new', ...ids]));
      await expect
        .poll(async () => (await harness.call(name, 'delivery', 'evt_0'))?.state, patience)
        .toBe('delivered');
      const [newest, before] = await harness.deliveries(name);
      expect([newest?.event, before?.event]).toEqual(['evt_last', `evt_${count - 1}`]);
    } finally {
      await harness.stop();
    }
  });

  it('without permission for this machine never calls it, and logs the reason', async () => {
    const { LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: _, ...others } = variables;
    const deployed = await CourierHarness.start(others);
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
