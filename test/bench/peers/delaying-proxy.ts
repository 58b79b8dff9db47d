/** A TCP proxy that adds the delay of a distance to each direction of each connection. */
import { connect, createServer, type Server, type Socket } from 'node:net';

/** The target of a proxy, and the delay that it adds. */
export interface DelayingProxyOptions {
  /** The port on 127.0.0.1 to which connections go on. */
  readonly targetPort: number;
  /**
   * The round trip of a connection, in ms: half of it is added to each direction. It gets the first bytes that the
   * client sends, since some protocols say there who the client is.
   */
  readonly roundTripMsOf: (firstBytes: Buffer) => number;
}

/** A running proxy. */
export interface DelayingProxy {
  readonly port: number;
  close(): Promise<void>;
}

/** Starts a proxy on 127.0.0.1, on a free port unless one is given. */
export async function startDelayingProxy(
  options: DelayingProxyOptions,
  port = 0,
): Promise<DelayingProxy> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A broken connection ends the other half, by its `close`.
    socket.on('error', () => {});
  };
  const server = createServer({ noDelay: true }, (client) => {
    keep(client);
    client.once('data', (first: Buffer) => {
      const delayMs = options.roundTripMsOf(first) / 2;
      const target = connect({ port: options.targetPort, host: '127.0.0.1', noDelay: true });
      keep(target);
      const there = new DelayedLine(target, delayMs);
      there.push(first);
      client.on('data', (chunk: Buffer) => there.push(chunk));
      const back = new DelayedLine(client, delayMs);
      target.on('data', (chunk: Buffer) => back.push(chunk));
      client.once('close', () => there.end());
      target.once('close', () => back.end());
    });
  });
  await listening(server, port);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
      await promise;
    },
  };
}

function listening(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, '127.0.0.1', resolve);
  return promise;
}

interface Parcel {
  readonly dueAtMs: number;
  /** Null ends the connection. */
  readonly chunk: Buffer | null;
}

/** One direction: passes bytes on in their order, each after the delay, any number of them under way at once. */
class DelayedLine {
  private readonly to: Socket;
  private readonly delayMs: number;
  private readonly underway: Parcel[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(to: Socket, delayMs: number) {
    this.to = to;
    this.delayMs = delayMs;
  }

  push(chunk: Buffer | null): void {
    this.underway.push({ dueAtMs: performance.now() + this.delayMs, chunk });
    if (this.timer === null) this.deliver();
  }

  end(): void {
    this.push(null);
  }

  private deliver(): void {
    this.timer = null;
    for (let next = this.underway[0]; next !== undefined; next = this.underway[0]) {
      // Timers are late by up to a millisecond, so one that is due within half of one goes now.
      const leftMs = next.dueAtMs - performance.now();
      if (leftMs > 0.5) {
        this.timer = setTimeout(() => this.deliver(), leftMs);
        return;
      }
      this.underway.shift();
      if (next.chunk === null) this.to.destroy();
      else if (!this.to.destroyed) this.to.write(next.chunk);
    }
  }
}
