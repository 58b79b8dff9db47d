/** Tests deliveries and their log by a courier under workerd. schedule.test.ts tests the retry policy alone. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryPage } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { CourierHarness, patience, variables } from './harness.ts';
import { isSignedBy, Receiver, verified } from './receiver.ts';

/** As many as there are pauses. */
const attempts = 4;

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

describe('a delivery', () => {
  it('arrives once, signed for the published library and under the public key, and is logged', async () => {
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    const [received] = receiver.received;
    expect(receiver.ids).toEqual(['evt_1']);
    expect(received && verified(received, receiver.secret)).toMatchObject({
      data: { id: 'evt_1' },
    });
    expect(received && isSignedBy(received, harness.signingKey)).toBe(true);
    expect(received?.headers['content-type']).toBe('application/json');
    expect(await recordOf('evt_1')).toMatchObject({
      type: 'write.committed',
      attempts: 1,
      status: 200,
      answer: 'thanks',
      nextAttemptAt: null,
    });
  });

  it('arrives once even if it is handed over again, while it waits or after it has arrived', async () => {
    const ids = ['evt_1', 'evt_2'];
    await Promise.all([
      harness.deliver(name, receiver, ids),
      harness.deliver(name, receiver, ids),
      harness.deliver(name, receiver, [...ids, ...ids]),
    ]);
    await expect
      .poll(() => harness.states(name, ids), patience)
      .toEqual(['delivered', 'delivered']);
    await harness.deliver(name, receiver, [...ids, 'evt_3']);
    await expectState('evt_3', 'delivered');
    expect(receiver.ids.toSorted()).toEqual(['evt_1', 'evt_2', 'evt_3']);
  });

  it('is retried after errors under one id, each attempt with a signature of its own', async () => {
    receiver.answer = (response, _, attempt) => {
      response.statusCode = attempt < 3 ? 500 : 204;
      response.end();
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    expect(receiver.ids).toEqual(['evt_1', 'evt_1', 'evt_1']);
    for (const received of receiver.received) {
      expect(verified(received, receiver.secret)).toMatchObject({ data: { id: 'evt_1' } });
    }
    expect(await recordOf('evt_1')).toMatchObject({ attempts: 3, status: 204, answer: '' });
  });

  it('is retried if the connection breaks', async () => {
    receiver.answer = (response, _, attempt) => {
      if (attempt === 1) response.destroy();
      else response.end();
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    expect(receiver.attempts('evt_1')).toBe(2);
  });

  it('fails after its last attempt, and a replay sends it again under the same id', async () => {
    receiver.answer = (response) => {
      response.statusCode = 500;
      response.end('out of order');
    };
    await harness.deliver(name, receiver, ['evt_1', 'evt_2']);
    await expectState('evt_1', 'failed');
    await expectState('evt_2', 'failed');
    expect(receiver.attempts('evt_1')).toBe(attempts);
    expect(await recordOf('evt_1')).toMatchObject({
      attempts,
      status: 500,
      answer: 'out of order',
    });
    expect(await harness.reports()).not.toHaveProperty(`reason:${name}`);

    receiver.answer = (response) => response.end();
    expect(await harness.call(name, 'replay', { event: 'evt_1' })).toBe(1);
    await expectState('evt_1', 'delivered');
    expect(await recordOf('evt_2')).toMatchObject({ state: 'failed' });
    expect(await harness.call(name, 'replay', { since: Date.now() * 2, delivered: false })).toBe(0);
    expect(await harness.call(name, 'replay', { since: 0, delivered: false })).toBe(1);
    await expectState('evt_2', 'delivered');
    const replayed = receiver.received.at(-1);
    expect(replayed && verified(replayed, receiver.secret)).toMatchObject({
      data: { id: 'evt_2' },
    });
  });

  it('keeps its payload and each attempt, and can be sent again after its delivery', async () => {
    receiver.answer = (response, _received, attempt) => {
      response.statusCode = attempt === 1 ? 500 : 200;
      response.end(attempt === 1 ? 'out of order' : 'taken');
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    const detail = await harness.call(name, 'delivery', 'evt_1');
    expect(JSON.parse(detail?.body ?? '')).toMatchObject({ data: { id: 'evt_1' } });
    const history = detail?.history.map(({ status, answer }) => [status, answer]);
    expect(history).toEqual([
      [500, 'out of order'],
      [200, 'taken'],
    ]);
    expect(await harness.call(name, 'replay', { since: 0, delivered: false })).toBe(0);
    expect(await harness.call(name, 'replay', { event: 'evt_1' })).toBe(1);
    await expect.poll(() => receiver.attempts('evt_1'), patience).toBe(3);
    await expectState('evt_1', 'delivered');
    expect(await harness.call(name, 'replay', { since: 0, delivered: true })).toBe(1);
    await expect.poll(() => receiver.attempts('evt_1'), patience).toBe(4);
    expect(await harness.call(name, 'delivery', 'evt_2')).toBeNull();
  });

  it('does not follow a redirect, and fails', async () => {
    receiver.answer = (response) => {
      response.writeHead(307, { location: '/elsewhere' });
      response.end();
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'failed');
    expect(new Set(receiver.received.map(({ path }) => path))).toEqual(new Set(['/hooks']));
    expect(await recordOf('evt_1')).toMatchObject({ status: 307, attempts });
  });

  it('fails if the response hangs, before or after its status', async () => {
    receiver.answer = (response, _, attempt) => {
      if (attempt % 2 === 0) response.write('not all of it');
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'failed');
    expect(receiver.attempts('evt_1')).toBe(attempts);
    expect(await recordOf('evt_1')).toMatchObject({
      status: null,
      answer: 'No complete response within 500 ms.',
    });
  });

  it('reads only the beginning of an endless response, and keeps no control characters', async () => {
    receiver.answer = (response) => {
      const more = () => {
        while (response.write('\u0000\u001b[2Jä'.repeat(1_000)));
      };
      response.on('drain', more);
      more();
    };
    await harness.deliver(name, receiver, ['evt_1']);
    await expectState('evt_1', 'delivered');
    const answer = (await recordOf('evt_1'))?.answer ?? '';
    expect(answer).toMatch(/^\[2Jä( \[2Jä)+/);
    expect(answer).not.toMatch(/\p{Cc}|\ufffd/u);
    expect(Buffer.byteLength(answer)).toBeLessThanOrEqual(limits.deliveryAnswerBytes);
  });
});

describe('the log', () => {
  it('returns pages, the newest first, filtered by state', async () => {
    receiver.answer = (response, { id }) => {
      response.statusCode = id === 'evt_2' ? 500 : 200;
      response.end();
    };
    const ids = ['evt_0', 'evt_1', 'evt_2', 'evt_3', 'evt_4'];
    await harness.deliver(name, receiver, ids);
    for (const id of ids) await expectState(id, id === 'evt_2' ? 'failed' : 'delivered');
    const pages: string[][] = [];
    let before: number | null = null;
    do {
      const page: DeliveryPage = await harness.call(name, 'deliveries', {
        state: null,
        before,
        limit: 2,
      });
      pages.push(page.deliveries.map(({ event }) => event));
      before = page.before;
    } while (before !== null);
    expect(pages).toEqual([['evt_4', 'evt_3'], ['evt_2', 'evt_1'], ['evt_0']]);
    const query = { state: 'failed', before: null, limit: 1 } as const;
    const failed = await harness.call(name, 'deliveries', query);
    expect(failed.deliveries.map(({ event }) => event)).toEqual(['evt_2']);
    expect(failed.before).toBeNull();
  });

  it('never contains a secret, even an unusable one', async () => {
    const secret = 'whsec_dGhpcyBpcyBubyBnb29kIHNlY3JldA';
    const handover = harness.handover(name, receiver, ['evt_1']);
    const target = { url: receiver.url, secret };
    await harness.call(name, 'deliver', name, { ...handover, target });
    await expectState('evt_1', 'failed');
    const shown = JSON.stringify(await harness.deliveries(name)) + harness.log;
    expect(shown).toContain('The secret or the signing key is unusable.');
    expect(shown).not.toContain(secret.slice(6));
    expect(shown).not.toContain('"d":');
    expect(receiver.received).toEqual([]);
  });

  it('drops the oldest event above the limit of waiting events', async () => {
    await harness.deliver(name, receiver, ['evt_first']);
    await expectState('evt_first', 'delivered');
    await harness.call(name, 'disable', 'to let them wait');
    for (let start = 0; start < limits.eventsPerEndpoint; start += limits.eventsPerHandover) {
      const ids = Array.from(
        { length: limits.eventsPerHandover },
        (_, index) => `e${start + index}`,
      );
      await harness.deliver(name, receiver, ids);
    }
    const failed = { state: 'failed', before: null, limit: 10 } as const;
    expect((await harness.call(name, 'deliveries', failed)).deliveries).toEqual([]);
    await harness.deliver(name, receiver, ['evt_last']);
    const { deliveries } = await harness.call(name, 'deliveries', failed);
    expect(deliveries.map(({ event }) => event)).toEqual(['e0']);
  });
});
