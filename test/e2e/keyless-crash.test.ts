/** Kills the Worker after writes without keys, such as messages, and expects each to be published once. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FaultHandle } from '../../local/gateway/faults.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { memberChanges, membersOf, newestChange, untilAllVote } from './members.ts';
import { commits, hangIn, met, patientVariables, prepares, roundCounter } from './rounds.ts';
import { bodyOf, patience, type WriteOperation, type WriteOptions, wake, write } from './writes.ts';

let stack: TestStack;
/** The messages that direct subscribers of each region have got, by region. */
const heard = new Map<string, string[]>();
const subscribers: { disconnect(): void }[] = [];

beforeAll(async () => {
  stack = await startTestStack({ variables: patientVariables });
  for (const { id, client } of stack.regions) {
    const lines: string[] = [];
    heard.set(id, lines);
    const subscriber = client.duplicate();
    subscriber.on('pmessage', (_pattern, channel, text) => lines.push(`${channel} ${text}`));
    await subscriber.psubscribe('*');
    subscribers.push(subscriber);
  }
});

afterEach(() => stack.heal());

afterAll(async () => {
  for (const subscriber of subscribers) subscriber.disconnect();
  await stack?.stop();
}, 60_000);

/** A write that leaves no value in any region, and the messages that each region has to publish for it. */
interface Keyless {
  readonly ops: readonly WriteOperation[];
  readonly options?: WriteOptions;
  readonly messages: readonly string[];
}

const publishing = "return redis.call('PUBLISH', ARGV[1], ARGV[2])";

const writes: Readonly<Record<string, (channel: string) => Keyless>> = {
  'a message alone': (channel) => ({
    ops: [['PUBLISH', channel, 'one']],
    messages: [`${channel} one`],
  }),
  'messages of several channels': (channel) => ({
    ops: [
      ['PUBLISH', `${channel}:b`, 'one'],
      ['PUBLISH', `${channel}:a`, 'two'],
    ],
    messages: [`${channel}:b one`, `${channel}:a two`],
  }),
  'a check of a key and a reply': (channel) => ({
    ops: [['GET', channel]],
    options: { checks: [{ key: channel, absent: true }] },
    messages: [],
  }),
  'a script without keys': () => ({ ops: [['EVAL', 'return 1', 0]], messages: [] }),
  'a script without keys that publishes': (channel) => ({
    ops: [['EVAL', publishing, 0, channel, 'one']],
    messages: [`${channel} one`],
  }),
};

/** The regions in which the commit hangs. */
const regionsWith: Readonly<Record<string, (all: readonly TestRegion[]) => readonly TestRegion[]>> =
  {
    one: (all) => all.slice(0, 1),
    all: (all) => all,
  };

const cases = Object.keys(writes).flatMap((sends) =>
  Object.keys(regionsWith).flatMap((regions) =>
    (['before', 'after'] as const).map((when) => ({ sends, regions, when })),
  ),
);

let made = 0;

/** Sends the write, and kills the Worker after the response, while its commits hang by `hang`. */
async function killedAfter(
  make: (channel: string) => Keyless,
  hang: () => readonly FaultHandle[],
): Promise<{ readonly id: string; readonly since: number; readonly messages: readonly string[] }> {
  made += 1;
  const { ops, options = {}, messages } = make(`channel:${made}`);
  const settled = await write(stack, [['SET', 'before', made]], { ack: 'confirmed' });
  expect(bodyOf(settled).outcome).toBe('confirmed');
  for (const lines of heard.values()) lines.splice(0);
  const since = await newestChange(stack);
  const held = hang();
  const answered = await write(stack, ops, options);
  expect([answered.status, bodyOf(answered).outcome]).toEqual([200, 'committed']);
  await met(held);
  await stack.killWorker();
  return { id: bodyOf(answered).id ?? '', since, messages };
}

/** No region is out or leaving, nothing is locked, and each region has published all messages once, in order. */
async function expectWhole(id: string, since: number, messages: readonly string[]): Promise<void> {
  const appliedIn = async () => bodyOf(await stack.send('GET', `/v1/writes/${id}`)).appliedIn ?? [];
  await expect.poll(async () => (await appliedIn()).length, patience).toBe(stack.regions.length);
  // The next write goes through every region, and its message comes after all others.
  const next = await write(stack, [['PUBLISH', 'end', id]], { ack: 'confirmed' });
  expect(bodyOf(next)).toMatchObject({ outcome: 'confirmed', attempts: 1 });
  for (const lines of heard.values()) {
    await expect.poll(() => lines.at(-1), patience).toBe(`end ${id}`);
    expect(lines).toEqual([...messages, `end ${id}`]);
  }
  await expect.poll(() => stack.locks(), patience).toEqual([]);
  await untilAllVote(stack);
  expect((await membersOf(stack)).map(({ health }) => health)).toEqual(
    stack.regions.map(() => 'answering'),
  );
  expect(await memberChanges(stack, since)).toEqual([]);
}

describe('a kill -9 before the commit is acknowledged', () => {
  it.each(cases)(
    '$sends: keeps every region and publishes once if the commit hangs in $regions $when it was executed',
    async ({ sends, regions, when }) => {
      const make = writes[sends];
      const choose = regionsWith[regions];
      if (make === undefined || choose === undefined)
        throw new Error('every case has a write and regions');
      const { id, since, messages } = await killedAfter(make, () =>
        hangIn(choose(stack.regions), when === 'after', commits),
      );
      stack.heal();
      await stack.restartWorker();
      await wake(stack);
      await expectWhole(id, since, messages);
    },
  );

  it.each(Object.keys(writes))(
    '%s: publishes once even if its commits arrive after those of the next life',
    async (name) => {
      const make = writes[name];
      if (make === undefined) throw new Error('every case has a write');
      const gate = Promise.withResolvers<void>();
      const { id, since, messages } = await killedAfter(make, () =>
        stack.regions.map(({ gateway }) =>
          gateway.faults.add({
            fault: { kind: 'hold', executed: false, until: gate.promise },
            matches: commits,
            times: 1,
          }),
        ),
      );
      await stack.restartWorker();
      await wake(stack);
      await expectWhole(id, since, messages);
      const before = await Promise.all(stack.regions.map(roundCounter));
      for (const lines of heard.values()) lines.splice(0);
      gate.resolve();
      const executed = () => Promise.all(stack.regions.map(roundCounter));
      await expect.poll(executed, patience).toEqual(before.map((count) => count + 1));
      await expectWhole(id, since, []);
    },
  );
});

describe('a transaction without commands for a region', () => {
  it('is answered while every region hangs, since nothing is prepared for it', async () => {
    const held = hangIn(stack.regions, false, prepares);
    const body = [['PING'], ['ECHO', 'x']];
    expect(await stack.send('POST', '/multi-exec', body)).toMatchObject({
      status: 200,
      body: [{ result: 'PONG' }, { result: 'x' }],
    });
    expect(held.map(({ hits }) => hits)).toEqual(stack.regions.map(() => 0));
  });
});
