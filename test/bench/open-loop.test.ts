import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { runOpenLoop } from './open-loop.ts';
import { randomFrom } from './zipfian.ts';

/** A server that answers each request by `status` of its number, the first being 1. */
async function serverOf(status: (number: number) => number) {
  let requests = 0;
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => {
      requests += 1;
      response.writeHead(status(requests), { 'content-length': 2 }).end('ok');
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    requests: () => requests,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe('an open loop', () => {
  it('begins every operation that is due, and counts each as carried out or failed', async () => {
    const server = await serverOf((number) => (number % 4 === 0 ? 500 : 200));
    let made = 0;
    const result = await runOpenLoop({
      port: server.port,
      perSecond: 400,
      ms: 500,
      next: () => {
        made += 1;
        return made;
      },
      carry: async (connection, number) => {
        const { status, body } = await connection.post('/', JSON.stringify(number));
        if (status !== 200) throw new Error(`${status} ${body}`);
        return 0;
      },
      isRead: (number) => number % 2 === 0,
      random: randomFrom(1),
    });
    server.stop();
    expect(made).toBe(server.requests());
    // The seed makes 400 arrivals per second, more or less.
    expect(made).toBeGreaterThan(120);
    expect(made).toBeLessThan(280);
    expect(result.failed).toBe(Math.floor(made / 4));
    expect(result.failure).toBe('Error: 500 ok');
    expect(result.readsMs.length + result.writesMs.length + result.failed).toBe(made);
    expect(result.readsMs.length).toBeGreaterThan(0);
    expect(result.offered).toBeGreaterThan(0);
  });
});
