/** A Redis server in this process. */
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import {
  attachSession,
  createRedisCommandExecutor,
  RedisServerState,
  SocketConnectionTransport,
} from 'js-redis-server/core';

/** A Redis in this process, for machines without one. It loses its data when it stops. */
export class EmbeddedRedis {
  private readonly server: Server;
  private readonly state: RedisServerState;
  private readonly sockets = new Set<Socket>();

  private constructor() {
    this.state = new RedisServerState({});
    const executor = createRedisCommandExecutor({ compatibility: 'redis-7.0' });
    this.server = createServer({ noDelay: true }, (socket) => {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
      // A broken connection concerns only its client.
      socket.on('error', () => {});
      attachSession(new SocketConnectionTransport(socket), { state: this.state, executor });
    });
  }

  /**
   * Starts a server on 127.0.0.1. (The package's own listens on every interface, without a password.)
   *
   * @throws the error of `listen` if the port is taken.
   */
  static async start(port: number): Promise<EmbeddedRedis> {
    const redis = new EmbeddedRedis();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    redis.server.once('error', reject);
    redis.server.listen(port, '127.0.0.1', resolve);
    await promise;
    return redis;
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.server.close(() => resolve());
    for (const socket of this.sockets) socket.destroy();
    await promise;
    this.state.close();
  }
}
