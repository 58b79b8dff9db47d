/** Starts and controls the Redis servers of local regions. */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Coordinates } from '../gateway/round-trips.ts';
import { copyAppendOnly, restoreAppendOnly } from './append-only.ts';
import { EmbeddedRedis } from './embedded-redis.ts';
import { freePort } from './free-port.ts';
import type { OwnProcess } from './processes.ts';
import { lastLines, startProcess } from './processes.ts';

/** The server of a region. `embedded` runs in this process and keeps no data. */
export type RedisKind = 'redis-server' | 'valkey-server' | 'embedded';

/** The time for which a server may load its data, in ms. */
const startDeadlineMs = 20_000;

/** Another process may take a free port before it is used. */
const startAttempts = 3;

/** The server program on the PATH, or `embedded` if there is none. */
export function redisKind(): RedisKind {
  for (const kind of ['redis-server', 'valkey-server'] as const) {
    if (findProgram(kind) !== null) return kind;
  }
  return 'embedded';
}

function findProgram(name: string): string | null {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  return null;
}

/** The state of a region's server. A paused one keeps its connections and answers nothing. */
export type RegionCondition = 'running' | 'paused' | 'stopped';

/** The Redis of one region on this machine. */
export interface LocalRegion {
  readonly place: Coordinates;
  readonly kind: RedisKind;
  /** Stays the same after a restart. */
  readonly port: number;
  readonly condition: RegionCondition;
  /** Stops it in order. Everything that it acknowledged is on disk. */
  stop(): Promise<void>;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  /** Starts it with its data after `stop` or `kill`. An embedded one starts empty. */
  restart(): Promise<void>;
  /** Ends it by SIGKILL, deletes its data, and starts it. Keeps a snapshot. */
  wipe(): Promise<void>;
  /**
   * Copies its data on disk, including everything acknowledged before the call. Replaces an earlier snapshot.
   *
   * @throws Error for an embedded region, which has nothing on disk.
   */
  snapshot(): Promise<void>;
  /**
   * Ends it by SIGKILL, replaces its data by the snapshot, and starts it. Later writes are lost.
   *
   * @throws Error if there is no snapshot; the server keeps running.
   */
  rollback(): Promise<void>;
  /**
   * Stops the process (SIGSTOP) until `resume`, `stop` or `kill`.
   *
   * @throws Error for an embedded region, which has no process of its own.
   */
  pause(): void;
  /** Continues a paused process (SIGCONT). */
  resume(): void;
}

/**
 * Starts one region. Its data are in `<stateDirectory>/regions/<id>`, and are kept between runs.
 *
 * @throws Error with the log's last lines if the server does not start.
 */
export async function startRegion(
  place: Coordinates,
  stateDirectory: string,
  kind: RedisKind,
): Promise<LocalRegion> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const region =
      kind === 'embedded'
        ? new EmbeddedRegion(place, port)
        : new RealRegion(place, port, kind, stateDirectory);
    try {
      await region.restart();
      return region;
    } catch (error) {
      if (attempt === startAttempts) throw error;
    }
  }
}

class EmbeddedRegion implements LocalRegion {
  readonly kind = 'embedded';
  readonly place: Coordinates;
  readonly port: number;
  private server: EmbeddedRedis | null = null;

  constructor(place: Coordinates, port: number) {
    this.place = place;
    this.port = port;
  }

  get condition(): RegionCondition {
    return this.server === null ? 'stopped' : 'running';
  }

  async stop(): Promise<void> {
    await this.server?.stop();
    this.server = null;
  }

  async kill(): Promise<void> {
    await this.stop();
  }

  async restart(): Promise<void> {
    await this.stop();
    this.server = await EmbeddedRedis.start(this.port);
  }

  async wipe(): Promise<void> {
    await this.restart();
  }

  async snapshot(): Promise<void> {
    throw new Error(`${this.place.id} is embedded, in memory, and has no data to copy. ${advice}`);
  }

  async rollback(): Promise<void> {
    throw new Error(`${this.place.id} is embedded, in memory, and has no snapshot. ${advice}`);
  }

  pause(): void {
    throw new Error(`${this.place.id} is embedded, without a process to pause. ${advice}`);
  }

  resume(): void {}
}

const advice = 'Put a redis-server on the PATH.';

class RealRegion implements LocalRegion {
  readonly place: Coordinates;
  readonly port: number;
  readonly kind: 'redis-server' | 'valkey-server';
  private readonly stateDirectory: string;
  private server: OwnProcess | null = null;

  constructor(
    place: Coordinates,
    port: number,
    kind: 'redis-server' | 'valkey-server',
    stateDirectory: string,
  ) {
    this.place = place;
    this.port = port;
    this.kind = kind;
    this.stateDirectory = stateDirectory;
  }

  get condition(): RegionCondition {
    if (this.server?.isRunning !== true) return 'stopped';
    return this.server.isPaused ? 'paused' : 'running';
  }

  async stop(): Promise<void> {
    await this.server?.stop();
  }

  async kill(): Promise<void> {
    await this.server?.kill();
  }

  async wipe(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
    await this.restart();
  }

  async snapshot(): Promise<void> {
    await copyAppendOnly(this.directory, this.snapshotDirectory);
  }

  async rollback(): Promise<void> {
    if (!existsSync(this.snapshotDirectory)) {
      throw new Error(`There is no snapshot of ${this.place.id} to go back to.`);
    }
    await this.kill();
    await restoreAppendOnly(this.snapshotDirectory, this.directory);
    await this.restart();
  }

  pause(): void {
    this.server?.pause();
  }

  resume(): void {
    this.server?.resume();
  }

  private get directory(): string {
    return join(this.stateDirectory, 'regions', this.place.id);
  }

  /** Outside of the data, so that a wipe keeps it, but cleared together with all regions. */
  private get snapshotDirectory(): string {
    return `${this.directory}.snapshot`;
  }

  async restart(): Promise<void> {
    await this.stop();
    const { directory } = this;
    mkdirSync(directory, { recursive: true });
    const logFile = join(this.stateDirectory, `${this.place.id}.log`);
    const server = startProcess({
      name: `region-${this.place.id}`,
      command: this.kind,
      args: serverArguments(this.port, directory),
      workingDirectory: directory,
      stateDirectory: this.stateDirectory,
      logFile,
    });
    this.server = server;
    if (await answers(server, this.port)) return;
    await server.kill();
    throw new Error(`${this.kind} for ${this.place.id} did not start:\n${lastLines(logFile)}`);
  }
}

/**
 * The append-only file is written before a command is answered, so a killed server loses nothing; a crash of the machine
 * may lose the last writes. With `appendfsync everysec`, Redis would delay a write for up to two seconds while the disk
 * is busy, and a killed server would lose writes that it has acknowledged. Eviction is off, because a lock must never be
 * evicted.
 */
function serverArguments(port: number, directory: string): readonly string[] {
  const settings: Readonly<Record<string, string>> = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    daemonize: 'no',
    appendonly: 'yes',
    appendfsync: 'no',
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** True once the server answers commands; false if it ends first, or takes too long. */
async function answers(server: OwnProcess, port: number): Promise<boolean> {
  const deadline = performance.now() + startDeadlineMs;
  while (server.isRunning && performance.now() < deadline) {
    if (await ping(port)) return server.isRunning;
    await delay(15);
  }
  return false;
}

async function ping(port: number): Promise<boolean> {
  const redis = new Redis(port, '127.0.0.1', {
    lazyConnect: true,
    disableClientInfo: true,
    retryStrategy: () => null,
  });
  redis.on('error', () => {});
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}
