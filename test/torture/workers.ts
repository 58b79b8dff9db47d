/**
 * The Workers of a torture run: the present one, and perhaps a stale one. A successor runs on a copy of the storage,
 * and from then on the storage belongs to it: the one before goes on with everything that it has in memory, but its
 * storage takes no more writes, as that of a Durable Object does that has been started elsewhere.
 */
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../local/stack/free-port.ts';
import {
  type LocalWorker,
  startWorker,
  type WorkerOptions,
  workerStorage,
} from '../../local/stack/worker.ts';
import type { TestStack } from '../support/stack/stack.ts';

interface StaleWorker {
  readonly worker: LocalWorker;
  readonly locks: readonly DatabaseSync[];
}

/** Kills, pauses and replaces the Worker of a stack. Calls have to come one after another. */
export class Workers {
  #current: LocalWorker;
  #options: WorkerOptions;
  #stale: StaleWorker | null = null;
  #successors = 0;

  constructor(stack: Pick<TestStack, 'worker' | 'workerOptions'>) {
    this.#current = stack.worker;
    this.#options = stack.workerOptions;
  }

  /** The address of the present Worker. */
  get url(): string {
    return this.#current.url;
  }

  /** The directory with the log and the storage of the present Worker. */
  get directory(): string {
    return this.#options.stateDirectory;
  }

  get hasStale(): boolean {
    return this.#stale !== null;
  }

  /** Ends the present one by SIGKILL. */
  kill(): Promise<void> {
    return this.#current.kill();
  }

  /** Starts it again after `kill`, with the same address and storage. */
  async restart(): Promise<void> {
    this.#current = await startWorker(this.#options);
  }

  pause(): void {
    this.#current.pause();
  }

  resume(): void {
    this.#current.resume();
  }

  /** Starts a successor on a copy of the storage. The one before goes on as a stale one, until `endStale`. */
  async succeed(): Promise<void> {
    await this.endStale();
    const before = this.#current;
    const storage = workerStorage(this.#options.stateDirectory);
    before.pause();
    let locks = await lockAll(storage);
    // It was stopped in the midst of a write to its storage.
    for (; locks === null; locks = await lockAll(storage)) {
      before.resume();
      await delay(5);
      before.pause();
    }
    this.#stale = { worker: before, locks };
    this.#successors += 1;
    const { stateDirectory } = this.#options;
    const next = join(this.#root(stateDirectory), `successor-${this.#successors}`);
    copyStorage(storage, workerStorage(next));
    symlinkSync(this.#options.bundle.directory, join(next, 'bundle'));
    const port = await freePort();
    this.#options = { ...this.#options, stateDirectory: next, port };
    try {
      this.#current = await startWorker(this.#options);
    } finally {
      before.resume();
    }
  }

  /** Ends the stale one, if there is one. */
  async endStale(): Promise<void> {
    const stale = this.#stale;
    this.#stale = null;
    await stale?.worker.kill();
    for (const lock of stale?.locks ?? []) lock.close();
  }

  /** Ends both. */
  async stop(): Promise<void> {
    await this.endStale();
    await this.kill();
  }

  /** The directory of the stack. */
  #root(stateDirectory: string): string {
    return stateDirectory.replace(/\/successor-\d+$/, '');
  }
}

/** The databases below a storage. */
function databasesIn(storage: string): readonly string[] {
  return readdirSync(storage, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.sqlite'));
}

/** Takes the place of the writer of each database; null if one is being written. */
async function lockAll(storage: string): Promise<readonly DatabaseSync[] | null> {
  // Older releases of Node print a warning when this is imported.
  const { DatabaseSync } = await import('node:sqlite');
  const locks: DatabaseSync[] = [];
  for (const name of databasesIn(storage)) {
    const database = new DatabaseSync(join(storage, name));
    locks.push(database);
    try {
      database.exec('BEGIN IMMEDIATE');
    } catch {
      for (const lock of locks) lock.close();
      return null;
    }
  }
  return locks;
}

/** Copies databases that nobody writes, with their logs. Their shared memory is made again from these. */
function copyStorage(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('-shm') });
}
