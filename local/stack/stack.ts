/** Starts and stops the whole local stack: regions, gateways and the Worker. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Gateway } from '../gateway/gateway.ts';
import { Meter, startGateway } from '../gateway/gateway.ts';
import type { Coordinates, RoundTrips } from '../gateway/round-trips.ts';
import { placesFor, roundTripMsOf } from '../gateway/round-trips.ts';
import type { Bundle } from './bundle.ts';
import { bundleWorker, copyBundle } from './bundle.ts';
import { freePort } from './free-port.ts';
import { ownStateDirectory } from './processes.ts';
import type { LocalRegion, RedisKind } from './regions.ts';
import { startRegion } from './regions.ts';
import type { LocalWorker, WorkerOptions } from './worker.ts';
import { startWorker, workerStorage } from './worker.ts';

/** The regions, the ports and the state of a stack. */
export interface StackOptions {
  /** An absolute path, for everything that is kept between runs. */
  readonly stateDirectory: string;
  /** The number of regions, from 1 to 5. */
  readonly regions: number;
  readonly roundTrips: RoundTrips;
  readonly redis: RedisKind;
  /** The Worker's port, or the next free one above it; 0: any. */
  readonly port: number;
  /** Start with empty regions and an empty Worker. */
  readonly fresh: boolean;
  /** Further variables of the Worker, by name. */
  readonly variables?: Readonly<Record<string, string>>;
  /** A bundle of this source tree, which is copied. Without it, the Worker is bundled. */
  readonly bundle?: Bundle;
  /** Offer V8's inspector of the Worker, for profiles; see {@link Stack.inspectorUrl}. */
  readonly withInspector?: boolean;
  /** Called with a short sentence per step. */
  readonly progress?: (line: string) => void;
}

/** The clients' tokens, by scope. */
export interface StackTokens {
  readonly read: string;
  readonly write: string;
  readonly admin: string;
}

/** One region of the stack: its database, and the gateway in front of it. */
export interface StackRegion {
  readonly place: Coordinates;
  readonly redis: LocalRegion;
  readonly gateway: Gateway;
}

/** Regions, gateways and the Worker on this machine. */
export interface Stack {
  readonly url: string;
  readonly tokens: StackTokens;
  readonly regions: readonly StackRegion[];
  /** The counts of all gateways together. */
  readonly total: Meter;
  /** The current Worker. A restart replaces it. */
  readonly worker: LocalWorker;
  /** The inspector of the current Worker, which lists its targets under `/json`; null if there is none. */
  readonly inspectorUrl: string | null;
  /** The options with which the Worker is started. */
  readonly workerOptions: WorkerOptions;
  /** Ends the Worker by SIGKILL. */
  killWorker(): Promise<void>;
  /** Restarts the Worker, with the same address and storage. */
  restartWorker(): Promise<void>;
  /** Stops everything in order, and keeps the state. */
  stop(): Promise<void>;
}

/**
 * Starts everything.
 *
 * @throws Error with a message for users, after stopping everything.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const places = placesFor(options.regions);
  const progress = options.progress ?? (() => {});
  const stale = await ownStateDirectory(options.stateDirectory);
  if (stale.length > 0)
    progress(`Ended processes that a killed run had left: ${stale.join(', ')}.`);
  const identity = openState(options, places, progress);
  const stack = new RunningStack(options, identity.tokens, identity.gatewayToken);
  progress('Starting the regions and bundling the Worker. This takes some seconds.');
  try {
    await Promise.all([stack.startRegions(places), stack.bundle()]);
    progress(`Regions: ${places.map(({ id }) => id).join(', ')} (${nameOf(options.redis)}).`);
    await stack.restartWorker();
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

function nameOf(redis: RedisKind): string {
  if (redis !== 'embedded') return redis;
  return 'embedded, in memory: there is no redis-server or valkey-server on the PATH';
}

/** The facts that a state directory depends on. */
interface Identity {
  readonly regions: readonly string[];
  readonly redis: RedisKind;
  readonly tokens: StackTokens;
  readonly gatewayToken: string;
}

/**
 * Opens the state directory. The coordinator's storage refers to the regions' data, so both are kept or both are
 * cleared: they are cleared if they would not match, because the regions lost their data or are different ones.
 */
function openState(
  options: StackOptions,
  places: readonly Coordinates[],
  progress: (line: string) => void,
): Identity {
  const file = join(options.stateDirectory, 'identity.json');
  const known: Identity | null = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
  const regions = places.map(({ id }) => id);
  const reason = reasonToClear(known, regions, options);
  if (known !== null && reason !== null) {
    progress(`Cleared the data of earlier runs, regions and Worker: ${reason}.`);
  }
  if (reason !== null) {
    rmSync(join(options.stateDirectory, 'regions'), { recursive: true, force: true });
    rmSync(workerStorage(options.stateDirectory), { recursive: true, force: true });
  }
  const identity: Identity = {
    regions,
    redis: options.redis,
    tokens: known?.tokens ?? { read: newToken(), write: newToken(), admin: newToken() },
    gatewayToken: known?.gatewayToken ?? newToken(),
  };
  writeFileSync(file, JSON.stringify(identity, null, 2), { mode: 0o600 });
  return identity;
}

function reasonToClear(
  known: Identity | null,
  regions: readonly string[],
  options: StackOptions,
): string | null {
  if (known === null) return 'there were none';
  if (options.fresh) return 'a fresh start was requested';
  if (options.redis === 'embedded') return 'embedded regions keep no data';
  if (known.redis === 'embedded') return 'the regions were embedded and kept no data';
  if (known.regions.join() !== regions.join()) return 'the regions have changed';
  return null;
}

function newToken(): string {
  return randomBytes(24).toString('hex');
}

class RunningStack implements Stack {
  readonly tokens: StackTokens;
  readonly total = new Meter();
  private readonly options: StackOptions;
  private readonly gatewayToken: string;
  private started: readonly StackRegion[] = [];
  private bundled: Bundle | null = null;
  private current: LocalWorker | null = null;
  private port = 0;
  private inspectorPort: number | null = null;

  constructor(options: StackOptions, tokens: StackTokens, gatewayToken: string) {
    this.options = options;
    this.tokens = tokens;
    this.gatewayToken = gatewayToken;
    mkdirSync(options.stateDirectory, { recursive: true });
  }

  get url(): string {
    return this.worker.url;
  }

  get regions(): readonly StackRegion[] {
    return this.started;
  }

  get worker(): LocalWorker {
    if (this.current === null) throw new Error('the Worker has not been started');
    return this.current;
  }

  get inspectorUrl(): string | null {
    return this.inspectorPort === null ? null : `http://127.0.0.1:${this.inspectorPort}`;
  }

  async bundle(): Promise<void> {
    const { bundle, stateDirectory } = this.options;
    this.bundled =
      bundle === undefined
        ? await bundleWorker(stateDirectory)
        : copyBundle(bundle, stateDirectory);
  }

  async startRegions(places: readonly Coordinates[]): Promise<void> {
    const starting = places.map(async (place) => {
      const redis = await startRegion(place, this.options.stateDirectory, this.options.redis);
      const gateway = await startGateway({
        redisPort: redis.port,
        token: this.gatewayToken,
        roundTripMs: roundTripMsOf(place, this.options.roundTrips),
        total: this.total,
      });
      const region: StackRegion = { place, redis, gateway };
      // One by one, so that those that started are stopped if another one fails.
      this.started = [...this.started, region];
    });
    const failed = (await Promise.allSettled(starting)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    const order = places.map(({ id }) => id);
    this.started = this.started.toSorted(
      (a, b) => order.indexOf(a.place.id) - order.indexOf(b.place.id),
    );
  }

  async killWorker(): Promise<void> {
    await this.current?.kill();
  }

  async restartWorker(): Promise<void> {
    await this.current?.stop();
    this.port ||= await freePort(this.options.port);
    if (this.options.withInspector === true) this.inspectorPort ??= await freePort(0);
    this.current = await startWorker(this.workerOptions);
  }

  async stop(): Promise<void> {
    await this.current?.stop();
    await Promise.all(this.started.map(({ gateway }) => gateway.close()));
    await Promise.all(this.started.map(({ redis }) => redis.stop()));
    rmSync(join(this.options.stateDirectory, 'owner'), { force: true });
  }

  get workerOptions(): WorkerOptions {
    if (this.bundled === null) throw new Error('the Worker is bundled before it is started');
    return {
      stateDirectory: this.options.stateDirectory,
      bundle: this.bundled,
      port: this.port,
      regions: this.started.map(({ place, gateway }) => ({
        id: place.id,
        url: gateway.url,
        token: gateway.token,
        location: place.location,
      })),
      tokens: [
        { token: this.tokens.write, scope: 'write' },
        { token: this.tokens.read, scope: 'read' },
        { token: this.tokens.admin, scope: 'admin' },
      ],
      ...(this.options.variables === undefined ? {} : { variables: this.options.variables }),
      ...(this.inspectorPort === null ? {} : { inspectorPort: this.inspectorPort }),
    };
  }
}
