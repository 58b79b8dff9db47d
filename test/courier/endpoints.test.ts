/** Tests the state of an endpoint over many events: pauses, disabling, order and secrets. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { generateSecret } from '../../shared/webhooks/signature.ts';
import { CourierHarness, patience, variables } from './harness.ts';
import { Receiver, verified } from './receiver.ts';

let harness: CourierHarness;
let receiver: Receiver;
let name = '';
let tests = 0;

beforeAll(async () => {
  harness = await CourierHarness.start(variables);
});

beforeEach(async () => {
  receiver = await Receiver.start();
  // A courier of its own for each test.
  tests += 1;
  name = `cb_${tests}`;
});

afterEach(() => receiver.stop());

afterAll(() => harness?.stop(), 60_000);

/** Waits until the courier's log has the event in this final state. */
async function expectState(id: string, state: string): Promise<void> {
  await expect.poll(() => harness.states(name, [id]), patience).toEqual([state]);
}

async function recordOf(id: string) {
  return (await harness.deliveries(name)).find(({ event }) => event === id);
}

describe('an endpoint', () => {
  it('that requests a pause gets it, for all of its events', async () => {
    receiver.answer = (response, { id }, attempt) => {
      response.writeHead(id === 'evt_1' && attempt === 1 ? 429 : 200, { 'retry-after': '3600' });
      response.end();
    };
    const before = Date.now();
    await harness.deliver(name, receiver, ['evt_1']);
    await expect.poll(async () => (await recordOf('evt_1'))?.status, patience).toBe(429);
    expect((await recordOf('evt_1'))?.nextAttemptAt).toBeGreaterThanOrEqual(before + 3_600_000);
    await harness.deliver(name, receiver, ['evt_2']);
    await harness.deliver('cb_beside', receiver, ['evt_beside']);
    await expect.poll(() => receiver.attempts('evt_beside'), patience).toBe(1);
    expect(receiver.attempts('evt_2')).toBe(0);
    await harness.call(name, 'enable');
    await expectState('evt_1', 'delivered');
    await expectState('evt_2', 'delivered');
  });

  it('that requests a pause gets it for its whole host, and the coordinator is called once', async () => {
    receiver.answer = (response) => {
      response.writeHead(429, { 'retry-after': '7' });
      response.end();
    };
    await harness.deliver(name, receiver, ['evt_1', 'evt_2', 'evt_3']);
    const { host } = new URL(receiver.url);
    await expect
      .poll(async () => (await harness.reports())[`reason:${host}`], patience)
      .toBe('rests for 7000 ms');
  });

  it('that returns 410 is disabled and reported, and gets its waiting events after it is enabled', async () => {
    receiver.answer = (response) => {
      response.statusCode = 410;
      response.end();
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'failed');
    await harness.deliver(name, receiver, ['evt_2']);
    // The fake coordinator refuses the first call, so that the courier makes a second one.
    const report = async () => (await harness.reports())[`reason:${name}`];
    await expect.poll(report, patience).toContain('410');
    expect(receiver.ids).toEqual(['evt_1']);
    expect(await harness.states(name, ['evt_2'])).toEqual(['waiting']);
    receiver.answer = (response) => response.end();
    await harness.call(name, 'enable');
    await expectState('evt_2', 'delivered');
    expect(receiver.ids).toEqual(['evt_1', 'evt_2']);
  });

  it('that an operator disables gets nothing until it is enabled', async () => {
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    await harness.call(name, 'disable', 'maintenance');
    await harness.deliver(name, receiver, ['evt_2']);
    expect(await harness.states(name, ['evt_2'])).toEqual(['waiting']);
    await harness.call(name, 'enable');
    await expectState('evt_2', 'delivered');
    expect(receiver.ids).toEqual(['evt_1', 'evt_2']);
  });

  it('that hangs does not delay another one', async () => {
    const slow = `${name}_slow`;
    const hanging = await Receiver.start();
    hanging.answer = () => {};
    const ids = Array.from({ length: 20 }, (_, index) => `evt_${index}`);
    await harness.deliver(slow, hanging, ids);
    await expect.poll(() => hanging.received.length, patience).toBeGreaterThan(0);
    await harness.deliver(name, receiver, ids);
    await expect
      .poll(() => harness.states(name, ids), patience)
      .toEqual(ids.map(() => 'delivered'));
    expect(await harness.states(slow, ids)).not.toContain('delivered');
    await hanging.stop();
  });

  it('gets later events although an earlier one keeps failing', async () => {
    receiver.answer = (response, { id }) => {
      response.statusCode = id === 'evt_0' ? 500 : 200;
      response.end();
    };
    const ids = Array.from({ length: 10 }, (_, index) => `evt_${index}`);
    await harness.deliver(name, receiver, ids);
    for (const id of ids) await expectState(id, id === 'evt_0' ? 'failed' : 'delivered');
  });

  it('gets events in the order of arrival, a few at once', async () => {
    let open = 0;
    let openMaximum = 0;
    receiver.answer = (response) => {
      open += 1;
      openMaximum = Math.max(openMaximum, open);
      setImmediate(() => {
        open -= 1;
        response.end();
      });
    };
    const ids = Array.from({ length: 100 }, (_, index) => `evt_${index}`);
    await harness.deliver(name, receiver, ids.slice(0, 50));
    await harness.deliver(name, receiver, ids.slice(50));
    await expect.poll(() => receiver.ids.length, patience).toBe(ids.length);
    expect(openMaximum).toBeLessThanOrEqual(limits.deliveriesInFlight);
    // Only concurrent events may overtake each other.
    const shifts = receiver.ids.map((id, place) => Math.abs(ids.indexOf(id) - place));
    expect(Math.max(...shifts)).toBeLessThan(limits.deliveriesInFlight * 2);
  });
});

describe('a subscription', () => {
  const configure = (secret: string | null) =>
    harness.call(name, 'configure', {
      endpoint: name,
      url: receiver.url,
      secret,
      signingKey: harness.signingKey,
    });
  const deliver = (ids: readonly string[]) =>
    harness.call(name, 'deliver', name, { ...harness.handover(name, receiver, ids), target: null });

  it('gets events at its configured target, and keeps its secret if a change has none', async () => {
    await configure(receiver.secret);
    await configure(null);
    await deliver(['evt_1']);
    await expectState('evt_1', 'delivered');
    const [received] = receiver.received;
    expect(received && verified(received, receiver.secret)).toBeDefined();
  });

  it('signs with both secrets during the overlap of a rotation, and only with the new one after it', async () => {
    const [fresh, last] = [generateSecret(), generateSecret()];
    await configure(receiver.secret);
    await harness.call(name, 'rotate', fresh, 3_600_000);
    await deliver(['evt_1']);
    await expectState('evt_1', 'delivered');
    await harness.call(name, 'rotate', last, 0);
    await deliver(['evt_2']);
    await expectState('evt_2', 'delivered');
    const [during, after] = receiver.received;
    if (during === undefined || after === undefined) throw new Error('both have arrived');
    expect(verified(during, receiver.secret)).toEqual(verified(during, fresh));
    expect(verified(after, last)).toMatchObject({ data: { id: 'evt_2' } });
    expect(() => verified(after, fresh)).toThrow('No matching signature');
  });

  it('that was never configured, or was removed, takes no events and has no log', async () => {
    await deliver(['evt_1']);
    expect(await harness.deliveries(name)).toEqual([]);
    await configure(receiver.secret);
    await deliver(['evt_2']);
    await expectState('evt_2', 'delivered');
    await harness.call(name, 'remove');
    await deliver(['evt_3']);
    expect(await harness.deliveries(name)).toEqual([]);
    expect(receiver.ids).toEqual(['evt_2']);
    await configure(receiver.secret);
    await deliver(['evt_2']);
    await expectState('evt_2', 'delivered');
    expect(receiver.ids).toEqual(['evt_2', 'evt_2']);
  });
});
