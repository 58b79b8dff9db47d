import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../stack/stack.ts';

/** Addresses as they stand on the wire: clients of HTTP resolve dots before they send, and workerd does not. */

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
