/** Sends random hostile requests of the Upstash dialect to a stack, and expects intact regions. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Random } from '../simulation/random.ts';
import { Listener } from '../support/stack/listener.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { contentOf, sendForm } from './upstash-forms.ts';
import { hostileForm, statuses } from './upstash-hostile.ts';
import { patience } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack();
  await sendForm(endpoint(), { method: 'GET', path: '/set/first/1' });
});

afterAll(() => stack?.stop(), 60_000);

const endpoint = () => ({ url: stack.url, token: stack.tokens.write });

describe('hostile requests of every form', () => {
  it('get only known statuses, and leave every region with the same data and intact records', async () => {
    for (let seed = 1; seed <= 500; seed += 1) {
      const form = hostileForm(new Random(seed));
      const { status } = await sendForm(endpoint(), form);
      expect(statuses, `seed ${seed}: ${form.method} ${form.path}`).toContain(status);
    }
    await expect.poll(() => stack.locks(), patience).toEqual([]);
    const [content, ...others] = await Promise.all(
      stack.regions.map(({ client }) => contentOf(client)),
    );
    expect(content?.length).toBeGreaterThan(0);
    for (const other of others) expect(other).toEqual(content);
    for (const { client } of stack.regions) {
      const records = (await client.keys('lockstep:*')).map((key) =>
        key.replace(/^lockstep:0:/, ''),
      );
      // Only Lockstep's own records have its prefix, in their usual form.
      for (const record of records) expect(record).toMatch(/^(?:state|lock|lease)$/);
      expect(await client.type('lockstep:0:state')).toBe('string');
    }
  });

  it.each([
    ['read', ['GET', 'lockstep:0:state']],
    ['written', ['SET', 'lockstep:0:state', 'x']],
    ['deleted with others', ['DEL', 'first', 'lockstep:0:lock']],
    ['copied from', ['COPY', 'lockstep:0:state', 'copy']],
    ['renamed to', ['RENAME', 'first', 'lockstep:0:lock']],
    ['read after a count', ['ZUNION', '2', 'first', 'lockstep:0:lease']],
    ['stored into', ['SUNIONSTORE', 'lockstep:0:lease', 'first']],
  ])('cannot get a record of Lockstep %s', async (_deed, command) => {
    const alone = { method: 'POST', path: '/', body: JSON.stringify(command) };
    const steps = command.map((step) => step.replaceAll(/./g, escapeByte)).join('/');
    const list = JSON.stringify([command]);
    const refused = { error: expect.stringContaining('reserved') };
    expect(await sendForm(endpoint(), alone)).toEqual({ status: 400, body: refused });
    expect(await sendForm(endpoint(), { method: 'POST', path: '/pipeline', body: list })).toEqual({
      status: 200,
      body: [refused],
    });
    const multi = { method: 'POST', path: '/multi-exec', body: list };
    expect(await sendForm(endpoint(), multi)).toEqual({ status: 400, body: refused });
    // The name is compared undecoded; the arguments are decoded.
    const path = `/${command[0]}/${steps.slice(steps.indexOf('/') + 1)}`;
    expect(await sendForm(endpoint(), { method: 'GET', path })).toEqual({
      status: 400,
      body: refused,
    });
    expect(await stack.everywhere('first')).toEqual(stack.regions.map(() => '1'));
  });

  it.each([
    ['deep JSON', '/', `[${'['.repeat(200_000)}${']'.repeat(200_000)}]`, 400],
    [
      'a deep command',
      '/pipeline',
      `[["SET","k",${'['.repeat(100_000)}${']'.repeat(100_000)}]]`,
      400,
    ],
    ['a body past the limit', '/set/k', 'x'.repeat(1_000_001), 413],
    ['a value past the limit', '/set/k', 'x'.repeat(512_001), 400],
    ['a key past the limit', '/', JSON.stringify(['SET', 'k'.repeat(32_001), 1]), 400],
    ['a pipeline past the limit', '/pipeline', JSON.stringify(Array(5_000).fill(['PING'])), 400],
    [
      'a transaction past the limit',
      '/multi-exec',
      JSON.stringify(Array(129).fill(['INCR', 'k'])),
      400,
    ],
    [
      'one argument too many',
      '/',
      JSON.stringify(['DEL', ...Array(limits.argumentsPerOperation).fill('k')]),
      400,
    ],
  ])('with %s are refused, and write nothing', async (_name, path, body, status) => {
    const answer = await sendForm(endpoint(), { method: 'POST', path, body });
    expect(answer).toEqual({
      status,
      body: { error: expect.stringMatching(/^(?:ERR|EXECABORT) /) },
    });
    expect(await stack.everywhere('k')).toEqual(stack.regions.map(() => null));
  });

  it('with an interrupted body write nothing, and other requests are served', async () => {
    const { port } = new URL(stack.url);
    const body = '[["SET","broken","1"]]';
    for (const path of ['/pipeline', '/multi-exec', '/set/broken']) {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      const head = `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stack.tokens.write}\r\n`;
      socket.write(`${head}content-length: ${body.length}\r\n\r\n${body.slice(0, -1)}`);
      socket.destroy();
      await once(socket, 'close');
    }
    const answer = await sendForm(endpoint(), { method: 'GET', path: '/get/broken' });
    expect(answer).toEqual({ status: 200, body: { result: null } });
  });
});

describe('hostile requests for streams', () => {
  /** Sends a request with its path unchanged, which an HTTP client would normalize; returns the socket. */
  const sendRaw = async (path: string) => {
    const { port } = new URL(stack.url);
    const socket = connect(Number(port), '127.0.0.1');
    await once(socket, 'connect');
    const head = `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stack.tokens.write}\r\n`;
    socket.write(`${head}content-length: 2\r\n\r\n[]`);
    return socket;
  };

  const addresses: readonly (readonly [path: string, status: number])[] = [
    ['/subscribe', 400],
    ['/subscribe/lockstep%3Achannel%3Aa', 400],
    ['/subscribe/a/__keyspace@0__:lockstep:0:state', 400],
    ['/subscribe/a%0D%0Adata:%20message,a,forged', 400],
    [`/subscribe/${'x'.repeat(16_001)}`, 400],
    [`/subscribe${'/a'.repeat(5_000)}`, 400],
    ['/monitor/x', 400],
    // The runtime resolves these steps, so that Lockstep sees another address: here a command that does not exist.
    ['/subscribe/../nosuch/x', 400],
    ['/subscribe/%2e%2E/nosuch/x', 400],
    ['/psubscribe/a/.%2e/../nosuch/x', 400],
  ];
  const titled = addresses.map(([path, status]) => [path.slice(0, 60), status, path] as const);

  it.each(titled)('to %s get %i, and no stream', async (_title, status, path) => {
    const socket = await sendRaw(path);
    const [answer] = await once(socket, 'data');
    socket.destroy();
    expect(String(answer).split('\r\n')[0]).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(String(answer)).not.toContain('event-stream');
  });

  it('by clients that stop reading delay neither writes nor other subscribers', async () => {
    const silent = await sendRaw('/subscribe/flood');
    await once(silent, 'data');
    silent.pause();
    const listener = await Listener.open(endpoint(), '/subscribe/flood');
    expect(await listener.lines(1)).toEqual(['data: subscribe,flood,1']);
    const text = 'x'.repeat(200_000);
    const count = 100;
    for (let number = 0; number < count; number += 1) {
      const body = JSON.stringify(['PUBLISH', 'flood', `${number} ${text}`]);
      expect(await sendForm(endpoint(), { method: 'POST', path: '/', body })).toEqual({
        status: 200,
        body: { result: 0 },
      });
      const [line] = await listener.lines(1);
      expect(line?.slice(0, 30)).toBe(`data: message,flood,${number} ${text}`.slice(0, 30));
    }
    silent.destroy();
    listener.leave();
    const open = () => stack.regions.reduce((sum, { gateway }) => sum + gateway.streams.size, 0);
    const streamsAfterMessage = async () => {
      await sendForm(endpoint(), { method: 'GET', path: '/publish/flood/x' });
      return open();
    };
    await expect.poll(streamsAfterMessage, patience).toBe(0);
  });
});

function escapeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
