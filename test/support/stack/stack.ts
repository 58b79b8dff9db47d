/** Starts a whole stack, and sends it requests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { RoundTrips } from '../../../local/gateway/round-trips.ts';
import { type RedisKind, redisKind } from '../../../local/stack/regions.ts';
import type { Stack, StackRegion } from '../../../local/stack/stack.ts';
import { startStack } from '../../../local/stack/stack.ts';
import { connectTo } from '../redis.ts';
import { readLocks } from '../region-state.ts';
import { sharedBundle } from './shared-bundle.ts';

/** The differences of a stack under test from three regions without round trips, in a directory of its own. */
export interface TestStackOptions {
  readonly regions?: number;
  readonly roundTrips?: RoundTrips;
  /** The Redis on the PATH by default. */
  readonly redis?: RedisKind;
  /** An absolute path that is kept, for a stack that continues with an earlier one's state. */
  readonly stateDirectory?: string;
  readonly variables?: Readonly<Record<string, string>>;
}

/** A region with a direct client of its Redis, past the gateway. */
export interface TestRegion extends StackRegion {
  readonly id: string;
  readonly client: Redis;
}

/** A response of the Worker. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed JSON, or the text if it is not JSON. */
  readonly body: unknown;
}

/** A whole stack, with the operations of tests. Stop it in `afterAll`, even if `beforeAll` failed half-way. */
export interface TestStack extends Omit<Stack, 'regions' | 'inspectorUrl'> {
  readonly regions: readonly TestRegion[];
  readonly stateDirectory: string;
  /** The region of this id. */
  region(id: string): TestRegion;
  /** Sends JSON with the token of `scope`, `write` by default. Rejects if the connection breaks. */
  send(method: string, path: string, body?: unknown, sent?: SendOptions): Promise<Answer>;
  /** The key's string in every region, read past Lockstep, in the order of the regions. */
  everywhere(key: string): Promise<readonly (string | null)[]>;
  /** The names of Lockstep's own keys that hold a lock in some region; empty if nothing is locked. */
  locks(): Promise<readonly string[]>;
  /** Clears faults; round trips stay. */
  heal(): void;
}

export interface SendOptions {
  readonly scope?: 'read' | 'write' | 'admin';
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Starts a stack on free ports. Needs redis-server, or a Redis that keeps acknowledged writes. */
export async function startTestStack(options: TestStackOptions = {}): Promise<TestStack> {
  const stateDirectory = options.stateDirectory ?? mkdtempSync(join(tmpdir(), 'lockstep-stack-'));
  const stack = await startStack({
    stateDirectory,
    regions: options.regions ?? 3,
    roundTrips: options.roundTrips ?? 'none',
    redis: options.redis ?? redisKind(),
    port: 0,
    fresh: false,
    bundle: await sharedBundle(),
    ...(options.variables === undefined ? {} : { variables: options.variables }),
  });
  return new RunningTestStack(stack, stateDirectory, options.stateDirectory !== undefined);
}

class RunningTestStack implements TestStack {
  readonly regions: readonly TestRegion[];
  readonly stateDirectory: string;
  private readonly stack: Stack;
  private readonly keepsState: boolean;

  constructor(stack: Stack, stateDirectory: string, keepsState: boolean) {
    this.stack = stack;
    this.stateDirectory = stateDirectory;
    this.keepsState = keepsState;
    this.regions = stack.regions.map((region) => {
      const client = connectTo(region.redis.port, { lazyConnect: true });
      // The client ignores a connection that the test ends.
      client.on('error', () => {});
      return { ...region, id: region.place.id, client };
    });
  }

  get url() {
    return this.stack.url;
  }

  get tokens() {
    return this.stack.tokens;
  }

  get total() {
    return this.stack.total;
  }

  get worker() {
    return this.stack.worker;
  }

  get workerOptions() {
    return this.stack.workerOptions;
  }

  region(id: string): TestRegion {
    const region = this.regions.find((candidate) => candidate.id === id);
    if (region === undefined) throw new Error(`the stack has no region ${id}`);
    return region;
  }

  async send(
    method: string,
    path: string,
    body?: unknown,
    sent: SendOptions = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.tokens[sent.scope ?? 'write']}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...sent.headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(sent.signal === undefined ? {} : { signal: sent.signal }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: parse(text) };
  }

  everywhere(key: string): Promise<readonly (string | null)[]> {
    return Promise.all(this.regions.map(({ client }) => client.get(key)));
  }

  async locks(): Promise<readonly string[]> {
    const held = this.regions.map(async ({ id, client }) => {
      const locks = await readLocks(client);
      return [...locks.keys()].map((key) => `${id} ${key}`);
    });
    return (await Promise.all(held)).flat();
  }

  heal(): void {
    for (const { gateway } of this.regions) gateway.faults.clear();
  }

  killWorker(): Promise<void> {
    return this.stack.killWorker();
  }

  restartWorker(): Promise<void> {
    return this.stack.restartWorker();
  }

  async stop(): Promise<void> {
    for (const { client } of this.regions) client.disconnect();
    await this.stack.stop();
    if (!this.keepsState) rmSync(this.stateDirectory, { recursive: true });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
