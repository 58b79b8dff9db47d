/** Tests PUBLISH, SUBSCRIBE, PUBSUB and MONITOR on a stack, partly by the Upstash SDK. */
import { Redis, type RedisConfigNodejs } from '@upstash/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Listener } from '../support/stack/listener.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { sendForm, type UpstashEndpoint } from './upstash-forms.ts';
import { patience } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;
let lockstep: UpstashEndpoint;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
  lockstep = { url: stack.url, token: stack.tokens.write };
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

const clients: readonly (readonly [string, Omit<Partial<RedisConfigNodejs>, 'url' | 'token'>])[] = [
  ['with default settings', {}],
  ['without base64', { responseEncoding: false }],
  ['without its own JSON', { automaticDeserialization: false, enableAutoPipelining: false }],
];

/** The messages that subscribers of the SDK get, and the responses to their own subscriptions. */
async function conversation(redis: Redis): Promise<unknown> {
  const heard: unknown[] = [];
  const subscribed: string[] = [];
  const subscriber = redis.subscribe<unknown>(['news', 'a b']);
  const patterns = redis.psubscribe<unknown>('n*');
  for (const type of ['subscribe', 'psubscribe'] as const) {
    const listen = (count: unknown) => subscribed.push(`${type} ${count}`);
    (type === 'subscribe' ? subscriber : patterns).on(type, listen);
  }
  subscriber.on('message', ({ channel, message }) => heard.push(['message', channel, message]));
  patterns.on('pmessage', ({ pattern, channel, message }) =>
    heard.push(['pmessage', pattern, channel, message]),
  );
  subscriber.on('message:news', ({ message }) => heard.push(['message:news', message]));
  await expect.poll(() => subscribed.length, patience).toBe(3);
  await redis.publish('news', { nested: ['é✓', 1, null] });
  await redis.publish('a b', 7);
  await redis.multi().set('multi', 1).publish('news', 'quoted "text"').exec();
  await redis.pipeline().publish('news', 'true').publish('none', 'unheard').exec();
  await redis.publish('news', '"end"');
  const ends = () => heard.filter((one) => JSON.stringify(one).includes('end')).length;
  await expect.poll(ends, patience).toBe(3);
  await subscriber.unsubscribe();
  await patterns.unsubscribe();
  return [subscribed.toSorted(), heard.map((one) => JSON.stringify(one)).toSorted()];
}

describe('messages of the SDK', () => {
  it.each(clients)('reach its subscribers as through one plain Redis: %s', async (_name, given) => {
    const ours = await conversation(new Redis({ ...lockstep, ...given }));
    expect(ours).toEqual(
      await conversation(new Redis({ url: plain.url, token: plain.token, ...given })),
    );
  });

  it('are answered with 0 receivers, which a plain Redis counts', async () => {
    expect(await new Redis(lockstep).publish('nobody', 'x')).toBe(0);
  });
});

/** Direct subscribers to all channels of each region, and the messages that they got. */
async function everywhere(): Promise<readonly { readonly heard: string[]; stop(): void }[]> {
  return Promise.all(
    stack.regions.map(async ({ client }) => {
      const heard: string[] = [];
      const subscriber = client.duplicate();
      subscriber.on('pmessage', (_pattern, channel, text) => heard.push(`${channel} ${text}`));
      await subscriber.psubscribe('*');
      return { heard, stop: () => subscriber.disconnect() };
    }),
  );
}

describe('a message', () => {
  it('arrives once in every region after its commit, in the order of its channel', async () => {
    const regions = await everywhere();
    const numbers = Array.from({ length: 100 }, (_, index) => index);
    const commands = numbers.map((number) => ['PUBLISH', `c${number % 2}`, String(number)]);
    const form = { method: 'POST', path: '/pipeline', body: JSON.stringify(commands) };
    expect(await sendForm(lockstep, form)).toEqual({
      status: 200,
      body: commands.map(() => ({ result: 0 })),
    });
    await stack.send('POST', '/v1/writes', { ops: [['PUBLISH', 'end', 'x']], ack: 'confirmed' });
    for (const { heard } of regions) {
      await expect.poll(() => heard.includes('end x'), patience).toBe(true);
      const of = (channel: string) => heard.filter((one) => one.startsWith(channel));
      expect(of('c0')).toEqual(numbers.filter((n) => n % 2 === 0).map((n) => `c0 ${n}`));
      expect(of('c1')).toEqual(numbers.filter((n) => n % 2 === 1).map((n) => `c1 ${n}`));
    }
    for (const { stop } of regions) stop();
    await expect.poll(() => stack.locks(), patience).toEqual([]);
  });

  it('of a write that is aborted, rejected or refused is not published', async () => {
    const regions = await everywhere();
    await stack.send('POST', '/v1/writes', { ops: [['SET', 'text', 'x']] });
    const message = ['PUBLISH', 'never', 'x'];
    const failed = await stack.send('POST', '/v1/writes', { ops: [message, ['INCR', 'text']] });
    expect(failed.status).toBe(422);
    const checks = [{ type: 'absent', key: 'text' }];
    const unmet = await stack.send('POST', '/v1/writes', { ops: [message], checks });
    expect(unmet.status).toBeGreaterThanOrEqual(400);
    stack.regions[2]?.gateway.faults.setLine({ reach: 'answers-lost' });
    const lost = await stack.send('POST', '/v1/writes', { ops: [message], timeoutMs: 500 });
    expect(lost.status).toBeGreaterThanOrEqual(400);
    stack.heal();
    const end = { ops: [['PUBLISH', 'end', 'x']], ack: 'confirmed' };
    await expect
      .poll(async () => (await stack.send('POST', '/v1/writes', end)).status, patience)
      .toBe(200);
    for (const { heard, stop } of regions) {
      await expect.poll(() => heard.includes('end x'), patience).toBe(true);
      expect(heard.filter((one) => one.startsWith('never'))).toEqual([]);
      stop();
    }
  });
});

describe('a subscription', () => {
  it('has the same lines as the plain gateway, for any message', async () => {
    const hear = async (endpoint: UpstashEndpoint) => {
      const listener = await Listener.open(endpoint, '/subscribe/c/d,e');
      const patterns = await Listener.open(endpoint, '/psubscribe/*', 'GET');
      const begun = [await listener.lines(2), await patterns.lines(1)];
      for (const [channel, text] of [
        ['c', 'x\ndata: message,c,forged'],
        ['c', 'y\r message,c,forged'],
        ['d\ne', 'unheard'],
        ['d,e', ''],
        ['c', '%FF%00\udc00'.toWellFormed()],
        ['__keys', 'set'],
        ['c', 'end'],
      ]) {
        const body = JSON.stringify(['PUBLISH', channel, text]);
        await sendForm(endpoint, { method: 'POST', path: '/', body });
      }
      const heard = [await listener.lines(7), await patterns.lines(10)];
      listener.leave();
      patterns.leave();
      return [begun, heard];
    };
    expect(await hear(lockstep)).toEqual(await hear(plain));
  });

  it('is counted by PUBSUB, in its region', async () => {
    const ask = async (endpoint: UpstashEndpoint) => {
      const channels = await Listener.open(endpoint, '/subscribe/one/two');
      const patterns = await Listener.open(endpoint, '/psubscribe/o*/p*');
      await channels.lines(2);
      await patterns.lines(2);
      const asked = [
        'channels/o*',
        'numsub/one/none',
        'numsub',
        'nosuch',
        'numpat/x',
        'numsub/two',
      ];
      const answers: unknown[] = [];
      for (const words of asked) {
        // A strong read goes to another region if the nearest has no lease at the moment.
        const headers = { 'lockstep-consistency': 'local' };
        answers.push(
          await sendForm(endpoint, { method: 'GET', path: `/pubsub/${words}`, headers }),
        );
      }
      channels.leave();
      patterns.leave();
      return answers;
    };
    expect(await ask(lockstep)).toEqual(await ask(plain));
  });

  it('does not contain keyspace notifications of its region', async () => {
    for (const { client } of stack.regions) {
      await client.config('SET', 'notify-keyspace-events', 'KEA');
    }
    const direct = await everywhere();
    const listener = await Listener.open(lockstep, '/psubscribe/*/lock*/_*');
    await listener.lines(3);
    await sendForm(lockstep, { method: 'GET', path: '/lpush/list/x' });
    await sendForm(lockstep, { method: 'GET', path: '/publish/end/x' });
    expect(await listener.lines(1)).toEqual(['data: pmessage,*,end,x']);
    listener.leave();
    for (const { heard, stop } of direct) {
      await expect.poll(() => heard.includes('end x'), patience).toBe(true);
      expect(heard.filter((text) => /__:list | list$/.test(text))).toEqual([
        '__keyspace@0__:list rename_to',
        '__keyevent@0__:rename_to list',
      ]);
      stop();
    }
    for (const { client } of stack.regions) {
      await client.config('SET', 'notify-keyspace-events', '');
    }
  });

  it.each([
    'subscribe/__keyevent@0__:expired',
    'psubscribe/__key*__:*',
    'publish/__keyspace@0__:k/set',
  ])('to keyspace notifications, and a message among them, is refused: %s', async (words) => {
    expect(await sendForm(lockstep, { method: 'GET', path: `/${words}` })).toEqual({
      status: 400,
      body: { error: expect.stringMatching(/^ERR .*keyspace notifications/) },
    });
  });

  it('ends in the region, too, at the next message after its client has left', async () => {
    const open = () => stack.regions.reduce((sum, { gateway }) => sum + gateway.streams.size, 0);
    const streamsAfterMessages = async () => {
      const ops = ['c', 'news', 'a b', 'one', 'p'].map((channel) => ['PUBLISH', channel, '1']);
      await stack.send('POST', '/v1/writes', { ops });
      return open();
    };
    // Subscriptions of the previous tests.
    await expect.poll(streamsAfterMessages, patience).toBe(0);
    const listeners = await Promise.all(
      Array.from({ length: 5 }, () => Listener.open(lockstep, '/subscribe/c')),
    );
    for (const listener of listeners) await listener.lines(1);
    expect(open()).toBe(5);
    for (const listener of listeners) listener.leave();
    await expect.poll(streamsAfterMessages, patience).toBe(0);
  });

  it('ends with its region, and opens again in the next one', async () => {
    const listener = await Listener.open(lockstep, '/subscribe/c');
    await listener.lines(1);
    const region = listener.response.headers.get('lockstep-region') ?? '';
    await stack.region(region).redis.kill();
    await listener.ended();
    const again = await Listener.open(lockstep, '/subscribe/c');
    expect(await again.lines(1)).toEqual(['data: subscribe,c,1']);
    expect(again.response.headers.get('lockstep-region')).not.toBe(region);
    await stack.region(region).redis.restart();
    const body = { ops: [['PUBLISH', 'c', 'after']] };
    await expect
      .poll(async () => (await stack.send('POST', '/v1/writes', body)).status, patience)
      .toBe(200);
    expect(await again.lines(1)).toEqual(['data: message,c,after']);
    again.leave();
  });
});

describe('a monitor', () => {
  it('shows committed writes as MONITOR shows commands', async () => {
    const listener = await Listener.open(lockstep, '/monitor');
    expect(await listener.lines(1)).toEqual(['data: "OK"']);
    const commands = [
      ['SET', 'k', 'a "quoted"\n\té\\\x07\b\x01'],
      ['GET', 'k'],
      ['PUBLISH', 'c', 'm'],
      ['INCR', 'k'],
      ['HSET', 'h', 'f', 'v'],
    ];
    const body = JSON.stringify(commands);
    await sendForm(lockstep, { method: 'POST', path: '/pipeline', body });
    const lines = await listener.lines(4);
    const shown = lines.map((line) => /^data: \d+\.\d{6} \[0 0\.0\.0\.0:0\] (.*)$/.exec(line)?.[1]);
    expect(shown).toEqual([
      String.raw`"SET" "k" "a \"quoted\"\n\t\xc3\xa9\\\a\b\x01"`,
      '"GET" "k"',
      '"PUBLISH" "c" "m"',
      '"HSET" "h" "f" "v"',
    ]);
    listener.leave();
  });

  it('is refused for a token that only reads', async () => {
    const reader = { url: stack.url, token: stack.tokens.read };
    expect(await sendForm(reader, { method: 'GET', path: '/monitor' })).toEqual({
      status: 400,
      body: { error: "NOPERM this user has no permissions to run the 'monitor' command" },
    });
  });
});
