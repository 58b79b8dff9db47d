/** Tests callbacks, webhooks and the change feed on a stack, over crashes of the Worker. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Receiver, verified } from '../courier/receiver.ts';
import { Random } from '../simulation/random.ts';
import { soakCallbacks } from '../support/stack/callbacks.ts';
import {
  type FeedReader,
  type Follow,
  followByEvents,
  followBySocket,
  followInPieces,
  newReader,
} from '../support/stack/followers.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { commitsOf, hangIn, met, patientVariables } from './rounds.ts';
import { attempt, bodyOf, patience, write } from './writes.ts';

/** No deadline passes while a test holds a round or an answer. */
const variables = {
  LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true',
  LOCKSTEP_DELIVERY_TIMEOUT_MS: '60000',
  ...patientVariables,
};

let stack: TestStack;
let receiver: Receiver;

beforeAll(async () => {
  stack = await startTestStack({ variables });
});

beforeEach(async () => {
  receiver = await Receiver.start();
});

afterEach(async () => {
  stack.heal();
  await receiver.stop();
});

afterAll(() => stack?.stop(), 60_000);

const every = ['write.committed', 'write.confirmed', 'write.aborted'] as const;

/** A callback of every event to the receiver. */
function callback(): { readonly callback: Readonly<Record<string, unknown>> } {
  return { callback: { url: receiver.url, secret: receiver.secret, events: every } };
}

function writeWithCallback(key: string, more: object = {}): Promise<string> {
  const body = { ops: [['INCR', key]], ...callback(), ...more };
  const headers = { 'idempotency-key': key };
  return stack.send('POST', '/v1/writes', body, { headers }).then((answer) => {
    return bodyOf(answer).id ?? '';
  });
}

/** The types of the events that the receiver got about a write, repeated ones included. Checks signatures. */
function heardOf(id: string): readonly string[] {
  return receiver.received
    .map((one) => verified(one, receiver.secret) as { type: string; data: { id: string } })
    .filter(({ data }) => data.id === id)
    .map(({ type }) => type);
}

async function crash(): Promise<void> {
  await stack.killWorker();
  stack.heal();
  await stack.restartWorker();
}

describe('a webhook', () => {
  it('with an Idempotency-Key is created once, with one secret, even after a crash', async () => {
    const sent = { headers: { 'idempotency-key': 'one webhook' } };
    const body = { url: receiver.url, events: ['write.committed'], prefixes: ['keyed:'] };
    const create = () => stack.send('POST', '/v1/webhooks', body, sent);
    const first = await create();
    expect(first.status).toBe(201);
    await crash();
    const second = await create();
    expect([second.status, second.body]).toEqual([201, first.body]);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    const keptUntil = Date.parse(String(second.headers.get('idempotency-kept-until')));
    expect(keptUntil).toBeGreaterThan(Date.now());
    const { id, secret }: { readonly id?: string; readonly secret?: string } = Object(first.body);
    const tested = await stack.send('POST', `/v1/webhooks/${id}/test`, {});
    expect(tested.status).toBe(202);
    await expect.poll(() => receiver.received.length, patience).toBe(1);
    for (const one of receiver.received) expect(verified(one, String(secret))).toBeTruthy();
    expect((await stack.send('DELETE', `/v1/webhooks/${id}`)).status).toBe(204);
  });

  it('does not call Lockstep, directly or through a receiver that forwards it', async () => {
    const url = `${stack.url}/incr/loop?_token=${stack.tokens.write}`;
    const refused = await stack.send('POST', '/v1/webhooks', { url });
    expect(refused.status).toBe(422);
    expect(JSON.stringify(refused.body)).toContain('Lockstep itself');
    const id = await writeWithCallback('passed on');
    await expect.poll(() => heardOf(id).length, patience).toBe(2);
    const [received] = receiver.received;
    const passedOn = { 'lockstep-webhook': String(received?.headers['lockstep-webhook']) };
    const looped = await stack.send('POST', '/incr/loop', undefined, { headers: passedOn });
    expect(looped.status).toBe(508);
    expect(await stack.everywhere('loop')).toEqual([null, null, null]);
  });
});

describe('a confirmation', () => {
  it('of a committed write arrives signed, once for the decision and once for all regions', async () => {
    const id = await writeWithCallback('plain');
    await expect.poll(() => heardOf(id).toSorted(), patience).toHaveLength(2);
    expect(heardOf(id).toSorted()).toEqual(['write.committed', 'write.confirmed']);
    expect(receiver.ids.toSorted()).toEqual([`${id}.write.committed`, `${id}.write.confirmed`]);
  });

  it('of an aborted write arrives, and no other event does', async () => {
    const checks = [{ key: 'missing', exists: true }];
    const id = await writeWithCallback('aborted', { checks });
    await expect.poll(() => heardOf(id), patience).toEqual(['write.aborted']);
  });

  it('is sent after a kill -9 at the moment of the decision, although the client got no response', async () => {
    const key = 'decided';
    const held = hangIn(stack.regions, false, commitsOf(key));
    const lost = attempt(stack, [['INCR', key]], { key, ...callback() });
    await met(held);
    await crash();
    await lost;
    // The retry returns the id of the write; it is not carried out again.
    const retried = await write(stack, [['INCR', key]], { key, ...callback() });
    expect(bodyOf(retried)).toMatchObject({ results: [1], replayed: true });
    const { id = '' } = bodyOf(retried);
    await expect.poll(() => new Set(heardOf(id)).size, patience).toBe(2);
    expect(new Set(receiver.ids).size).toBe(2);
  });

  it('is not sent before a late region has applied the write, even over a kill -9', async () => {
    const key = 'late';
    const [late] = stack.regions;
    const held = hangIn(late === undefined ? [] : [late], false, commitsOf(key));
    const id = await writeWithCallback(key);
    await met(held);
    await expect.poll(() => heardOf(id), patience).toEqual(['write.committed']);
    await crash();
    await expect.poll(() => heardOf(id), patience).toContain('write.confirmed');
    expect(await stack.everywhere(key)).toEqual(['1', '1', '1']);
  });

  it('is sent again under its id after a kill -9 between its request and its response', async () => {
    receiver.answer = () => {};
    const id = await writeWithCallback('unanswered');
    await expect.poll(() => receiver.received.length, patience).toBe(2);
    receiver.answer = (response) => response.end();
    await crash();
    const attempts = () => every.map((type) => receiver.attempts(`${id}.${type}`));
    await expect.poll(attempts, patience).toEqual([2, 2, 0]);
  });
});

describe('confirmations under load', () => {
  it('arrive for each committed write and for no aborted one, over three kills', async () => {
    const report = await soakCallbacks(stack, {
      writes: 1_000,
      clients: 16,
      kills: 3,
      patienceMs: patience.timeout,
    });
    expect(report).toMatchObject({
      writes: 1_000,
      aborted: 100,
      kills: 3,
      unconfirmed: 0,
      confirmedInVain: 0,
      unaborted: 0,
      unstable: 0,
      badSignatures: 0,
      outOfOrder: 0,
    });
  });
});

describe('a follower of the changes', () => {
  const ways: readonly (readonly [string, Follow])[] = [
    ['a WebSocket', followBySocket],
    ['server-sent events', followByEvents],
  ];

  async function newest(): Promise<number> {
    const { body } = await stack.send('GET', '/v1/changes?limit=1');
    return typeof body === 'object' && body !== null && 'newest' in body ? Number(body.newest) : 0;
  }

  /** Writes until it is stopped, and repeats unanswered writes. */
  function writeOn(keys: readonly string[]): () => Promise<void> {
    let running = true;
    const loops = keys.map(async (key) => {
      while (running) await attempt(stack, [['INCR', key]]);
    });
    return async () => {
      running = false;
      await Promise.all(loops);
    };
  }

  async function catchUp(reader: FeedReader, follow: Follow): Promise<void> {
    const end = await newest();
    while (reader.next < end) await follow(stack, reader, () => reader.next >= end);
  }

  it.each(ways)('over %s sees each sequence once after 100 disconnections', async (_, follow) => {
    const since = await newest();
    const reader = newReader(since);
    const random = new Random(since);
    const stop = writeOn(['feed:a', 'feed:b']);
    await followInPieces(stack, reader, follow, 100, () => random.next());
    await stop();
    await catchUp(reader, follow);
    const seen = reader.changes.map(({ sequence }) => sequence);
    expect(seen).toEqual(seen.map((_sequence, index) => since + 1 + index));
    expect(seen.at(-1)).toBe(await newest());
  });

  it.each(ways)('over %s continues after each of three kills', async (_, follow) => {
    const since = await newest();
    const reader = newReader(since, 'prefix=feed:b&values=true');
    const stop = writeOn(['feed:a', 'feed:b']);
    for (let kill = 0; kill < 3; kill += 1) {
      const target = reader.changes.length + 10;
      const ending = await follow(stack, reader, () => reader.changes.length >= target);
      expect(ending).toBe('left');
      const broken = follow(stack, reader, () => false);
      await crash();
      expect(await broken).not.toBe('left');
    }
    await stop();
    // The reader's filter includes the last change, so that its position arrives at once.
    await write(stack, [['INCR', 'feed:b']], { ack: 'confirmed' });
    await catchUp(reader, follow);
    const [first] = reader.changes;
    const values = reader.changes.map(({ results }) => Number(results?.[0]));
    expect(values).toEqual(values.map((_value, index) => Number(first?.results?.[0]) + index));
    const last = stack.regions.map(() => String(values.at(-1)));
    expect(await stack.everywhere('feed:b')).toEqual(last);
  });
});
