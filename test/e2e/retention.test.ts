/** Tests on a stack that the change log forgets its oldest writes, and no others. */
import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';

const keptWrites = 50;
const written = 80;

/** The members of a response that a test reads. */
interface Body {
  readonly changes?: readonly { readonly sequence: number }[];
  readonly oldest?: number;
  readonly newest?: number;
  readonly id?: string;
  readonly confirmed?: boolean;
  readonly recovered?: number;
}

let stack: TestStack;
let receiver: Server;
let receiverUrl = '';
const received = new Set<string>();

/** Requests the path until `done`, at most 300 times; the alarm prunes at a time of its own. */
async function until(path: string, done: (status: number, body: Body) => boolean): Promise<Body> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const { status, body } = await ask('GET', path);
    if (done(status, body)) return body;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${path} did not reach the expected state`);
}

async function ask(method: string, path: string, sent?: unknown) {
  const { status, body } = await stack.send(method, path, sent);
  const read: Body = typeof body === 'object' && body !== null ? body : {};
  return { status, body: read };
}

beforeAll(async () => {
  stack = await startTestStack({ variables: { LOCKSTEP_KEPT_WRITES: String(keptWrites) } });
  receiver = createServer((request, response) => {
    received.add(String(request.headers['webhook-id']));
    request.resume().on('end', () => response.end('thanks'));
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const address = receiver.address();
  receiverUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`;
});

afterAll(async () => {
  receiver?.close();
  await stack?.stop();
});

describe('a log with a limit', () => {
  it('forgets from its beginning, without a gap, and returns its new beginning', {
    timeout: 300_000,
  }, async () => {
    const ids: string[] = [];
    for (let number = 1; number <= written; number++) {
      const { body } = await ask('POST', '/v1/writes', { ops: [['INCR', 'n']] });
      ids.push(body.id ?? '');
    }
    // No younger step is dropped, however many there are. The first alarm of a life prunes, and a write sets it.
    await new Promise((resolve) => setTimeout(resolve, limits.keptMsMinimum));
    await stack.killWorker();
    await stack.restartWorker();
    const { body: last } = await ask('POST', '/v1/writes', { ops: [['INCR', 'n']] });
    ids.push(last.id ?? '');
    const { oldest = 0 } = await until('/v1/changes?since=0', (status) => status === 410);
    expect(oldest).toBeGreaterThan(1);
    const page = await ask('GET', `/v1/changes?since=${oldest - 1}`);
    const sequences = page.body.changes?.map(({ sequence }) => sequence) ?? [];
    expect(sequences).toEqual(sequences.map((_, index) => oldest + index));
    expect(sequences.at(-1)).toBe(written + 1);
    expect(sequences.length).toBeLessThanOrEqual(keptWrites);
    expect((await ask('GET', `/v1/writes/${ids[0]}`)).status).toBe(404);
    const newest = await ask('GET', `/v1/writes/${ids.at(-1)}`);
    expect(newest.body).toMatchObject({ outcome: 'confirmed', confirmed: true });
  });

  it('queues its kept events for a new subscription, when it replays since a date', {
    timeout: 300_000,
  }, async () => {
    const events = ['write.confirmed'];
    const created = await ask('POST', '/v1/webhooks', { url: receiverUrl, events });
    expect(created.status).toBe(201);
    const replayed = await ask('POST', `/v1/webhooks/${created.body.id}/replay`, { since: 0 });
    expect(replayed).toMatchObject({ status: 200 });
    const { recovered = 0 } = replayed.body;
    expect(recovered).toBeGreaterThan(0);
    expect(recovered).toBeLessThanOrEqual(keptWrites);
    await until('/v1/regions', () => received.size === recovered);
    await ask('POST', `/v1/webhooks/${created.body.id}/replay`, { since: 0 });
    await ask('POST', '/v1/writes', { ops: [['INCR', 'n']], ack: 'confirmed' });
    await until('/v1/regions', () => received.size === recovered + 1);
  });
});
