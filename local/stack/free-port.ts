/** Finds free ports of 127.0.0.1. */
import { createServer } from 'node:net';

/**
 * A free port of 127.0.0.1: `preferred` or the next free one above it, or any if `preferred` is 0 or those are taken.
 * Another process may take it before it is used, so the caller's `listen` may fail.
 */
export async function freePort(preferred = 0): Promise<number> {
  const candidatesMaximum = 50;
  for (let port = preferred; preferred > 0 && port < preferred + candidatesMaximum; port += 1) {
    if (port <= 65_535 && (await bind(port)) !== null) return port;
  }
  const port = await bind(0);
  if (port === null) throw new Error('no free port on 127.0.0.1');
  return port;
}

/** Listens on `port` briefly. Returns the port, or null if it is taken. */
async function bind(port: number): Promise<number | null> {
  const { promise, resolve } = Promise.withResolvers<number | null>();
  const server = createServer();
  server.once('error', () => resolve(null));
  server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
    const address = server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : null;
    server.close(() => resolve(bound));
  });
  return promise;
}
