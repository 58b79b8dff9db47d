/** Sends raw HTTP requests that clients would normalize or that exceed the body limit. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';

/** Raw requests: addresses whose dots no client resolves, and bodies that are too large. */

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(() => stack?.stop());

async function put(target: string, value: string): Promise<string> {
  const { hostname, port } = new URL(stack.url);
  const socket = connect(Number(port), hostname);
  const body = JSON.stringify({ value });
  socket.write(
    `PUT ${target} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n` +
      `Authorization: Bearer ${stack.tokens.write}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'close');
  return Buffer.concat(chunks).toString('utf8').split('\r\n', 1)[0] ?? '';
}

describe('a body over the limit', () => {
  it.each([
    ['of a write', '/v1/writes', 1_100_000],
    ['of a write, far over the limit', '/v1/writes', 12_000_000],
    ['of a command', '/set/key', 3_000_000],
    ['of a pipeline', '/pipeline', 3_000_000],
  ])('%s is refused with a response that its sender can read', async (_what, path, bytes) => {
    for (let time = 1; time <= 5; time += 1) {
      const response = await fetch(`${stack.url}${path}`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${stack.tokens.write}`,
          'content-type': 'application/json',
        },
        body: new Uint8Array(bytes).fill(0x20),
      });
      expect([response.status, await response.text()]).toEqual([
        413,
        expect.stringMatching(/1000000/),
      ]);
    }
  });
});

describe('PUT of a key whose name has dots', () => {
  it.each([
    ['/v1/keys/%2E', '.'],
    ['/v1/keys/%2e%2e', '..'],
    ['/v1/keys/..', '..'],
    ['/v1/keys/tenant1/../tenant2/x', 'tenant1/../tenant2/x'],
    ['/v1/keys/a/./b', 'a/./b'],
  ])('%s writes that key and no other', async (target, key) => {
    await stack.send('POST', '/v1/writes', { ops: [['FLUSHDB']] });
    const status = await put(target, 'v');
    const keys = (await stack.send('POST', '/v1/reads', { reads: [['KEYS', '*']] })).body;
    expect({ status, keys }).toMatchObject({
      status: 'HTTP/1.1 200 OK',
      keys: { results: [[key]] },
    });
  });
});
