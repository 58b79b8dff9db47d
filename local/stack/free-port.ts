import { createServer } from 'node:net';

/**
 * A port of 127.0.0.1 that nobody listens on: `preferred` or the next ones above it, or any where `preferred` is 0 or
 * all of those are taken. Somebody else may take it before it is used, so that whoever listens has to be ready to fail.
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

/** Listens on `port` for a moment. The port listened on, or null if it is taken. */
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
