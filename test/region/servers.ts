/** Starts redis-server and the embedded server for tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { createRedisMock } from 'js-redis-server';
import { connectTo } from '../support/redis.ts';

/** A Redis of a test: a plain client of it, and its end. */
export interface TestServer {
  readonly redis: Redis;
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts the embedded server, in this process. */
export async function startEmbedded(): Promise<TestServer> {
  const mock = await createRedisMock();
  const [address] = mock.addresses();
  if (address === undefined) throw new Error('the embedded server has no address');
  const port = address.port;
  const redis = connectTo(port);
  return {
    redis,
    port,
    async stop() {
      redis.disconnect();
      await mock.close();
    },
  };
}

/** Starts a redis-server of its own, without persistence. */
export async function startRedisServer(): Promise<TestServer> {
  const [port, folder] = await Promise.all([freePort(), mkdtemp(join(tmpdir(), 'lockstep-'))]);
  const bound = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
  const server = spawn('redis-server', [...bound, '--save', '', '--appendonly', 'no']);
  await accepting(server);
  const redis = connectTo(port);
  return {
    redis,
    port,
    async stop() {
      redis.disconnect();
      const ended = new Promise((resolve) => server.once('exit', resolve));
      server.kill();
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

function accepting(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('exit', () => reject(new Error('redis-server ended before it took connections')));
    server.stdout?.on('data', (text: Buffer) => {
      if (text.includes('Ready to accept connections')) resolve();
    });
  });
}

/** The servers on which every claim about the scripts is tested. */
export const servers = [
  ['redis-server', startRedisServer],
  ['the embedded server', startEmbedded],
] as const;
