/** Tests that broken couriers delay no write and lose no event. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Receiver } from '../courier/receiver.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { patientVariables } from './rounds.ts';
import { patience, write } from './writes.ts';

const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-attack-'));
/** A courier does not start with these. The writes of these tests are large, and the machine may be slow. */
const broken = { ...patientVariables, LOCKSTEP_DELIVERY_PAUSES_MS: 'soon' };

let stack: TestStack;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await Receiver.start();
  stack = await startTestStack({ stateDirectory, variables: broken });
});

afterAll(async () => {
  await stack?.stop();
  await receiver.stop();
  rmSync(stateDirectory, { recursive: true });
});

describe('unreachable couriers', () => {
  it('delay no write, and in a later life deliver every event once, without a secret in any log', async () => {
    const { secret, url } = receiver;
    const ids: string[] = [];
    for (let number = 0; number < 20; number += 1) {
      const callback = { url: `${url}/${number % 2}`, secret, events: ['write.confirmed'] };
      const sent = { ops: [['INCR', 'unreached']], ack: 'confirmed', callback };
      const { status, body } = await stack.send('POST', '/v1/writes', sent);
      expect(status).toBe(200);
      const { id }: { readonly id?: string } = Object(body);
      ids.push(`${id}.write.confirmed`);
    }
    await stack.killWorker();
    await stack.restartWorker();
    expect((await write(stack, [['INCR', 'unreached']])).status).toBe(200);
    expect(receiver.ids).toEqual([]);
    const logged = () => readFileSync(stack.worker.logFile, 'utf8');
    await expect.poll(logged, patience).toContain('a courier did not take its events');
    const log = logged();
    await stack.stop();
    stack = await startTestStack({ stateDirectory, variables: patientVariables });
    expect((await write(stack, [['INCR', 'unreached']])).status).toBe(200);
    await expect.poll(() => receiver.ids.toSorted(), patience).toEqual(ids.toSorted());
    for (const text of [log, logged()]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(secret.slice('whsec_'.length));
    }
  });

  it('get more events than fit into one call, once they are reachable', async () => {
    const large = Array.from({ length: 25 }, (_, index) => `${index}:\u4e2d${'k'.repeat(31_000)}`);
    // Of about 800 kB each: a call takes four million characters.
    const sent = 8;
    const callback = { url: receiver.url, secret: receiver.secret, events: ['write.committed'] };
    // Events that were in progress when the Worker stopped are sent again, under their ids.
    const events = () => new Set(receiver.ids).size;
    const before = events();
    await stack.stop();
    stack = await startTestStack({ stateDirectory, variables: broken });
    for (let number = 0; number < sent; number += 1) {
      const { status } = await stack.send('POST', '/v1/writes', {
        ops: [['DEL', ...large]],
        timeoutMs: limits.timeoutMsMaximum,
        callback,
      });
      expect(status).toBe(200);
    }
    await stack.stop();
    stack = await startTestStack({ stateDirectory, variables: patientVariables });
    expect((await write(stack, [['INCR', 'unreached']])).status).toBe(200);
    await expect.poll(events, patience).toBe(before + sent);
  });
});
